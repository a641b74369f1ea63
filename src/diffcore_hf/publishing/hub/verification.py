"""Verification: compares a folder or a commit with its manifest: every file, its size, its hash and its number of rows.

Does not check whether the rows are consistent with each other (publishing/audit).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from diffcore_hf.core.folder import Folder, manifest_bytes
from diffcore_hf.core.manifest import Manifest, checked_manifest
from diffcore_hf.publishing.hub import parquet
from diffcore_hf.publishing.hub.client_errors import StaleResponse
from diffcore_hf.publishing.hub.remote import MANIFEST, Remote, State, blob_of


def check_commit(remote: Remote, commit: str, manifest: Manifest, folder: Path) -> None:
    """Read a new commit back and compare it with the folder; the number of rows is read from the footers of the shards.

    Raises:
        StaleResponse: the commit does not have the content of the folder, possibly only for a moment.
    """
    state = remote.state(commit)
    if state.hash != manifest["hash"]:
        raise StaleResponse(f"commit {commit[:12]} of {remote.repo_id} does not have this folder's {MANIFEST}")
    if faults := commit_faults(state, remote, folder):
        raise StaleResponse(f"commit {commit[:12]} of {remote.repo_id}: {faults[0]}")


def commit_faults(state: State, remote: Remote, folder: Path | None = None) -> list[str]:
    """Return the faults of a commit, one line each; [] if it matches its manifest.

    Args:
        state: the files of the commit.
        remote: the repository of the commit.
        folder: a folder with a copy of the files; None if there is none. The Hub has no sha256 of files outside large
            file storage. The copy of such a file is hashed if it is equal; otherwise the file is downloaded.
    """
    if state.manifest is None:
        return [f"{MANIFEST} is missing or cannot be parsed"]
    manifest = checked_manifest(state.manifest, f"{remote.repo_id} at {state.commit[:12]}")
    faults = []
    if not _has_content(state, MANIFEST, manifest_bytes(manifest)):
        faults.append(f"{MANIFEST} does not have the hash of its own content")
    for entry in manifest["files"]:
        path, file = entry["path"], state.files.get(entry["path"])
        if file is None:
            faults.append(f"{path} is missing")
        elif file.size != entry["size"] or _sha256(path, state, remote, folder) != entry["sha256"]:
            faults.append(f"{path} is not the file that was exported")
        elif "rows" in entry and (rows := remote.row_count(path, state.commit)) != entry["rows"]:
            faults.append(f"{path} has {rows} rows, not {entry['rows']}")
    return faults


def _has_content(state: State, path: str, content: bytes) -> bool:
    file = state.files[path]
    if file.sha256:
        return file.sha256 == hashlib.sha256(content).hexdigest()
    return file.blob == blob_of(content)


def _sha256(path: str, state: State, remote: Remote, folder: Path | None) -> str:
    """Return the sha256 of a file. If the Hub does not record it, an equal local copy or a download is hashed."""
    file = state.files[path]
    if file.sha256:
        return file.sha256
    copy = folder / path if folder else None
    if copy is None or not file.equals(copy):
        copy = remote.download(path, state.commit)
    with open(copy, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def folder_faults(folder: Folder, manifest: Manifest) -> list[str]:
    """Return the faults of the files of a local folder: their sizes, hashes and numbers of rows; [] if all match."""
    if faults := folder.faults():
        return faults
    for entry in manifest["files"]:
        path = entry["path"]
        if "rows" in entry and (rows := parquet.row_count(folder.path / path, path)) != entry["rows"]:
            faults.append(f"{path} has {rows} rows, not {entry['rows']}")
    return faults
