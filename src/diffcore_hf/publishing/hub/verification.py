"""Verification: a folder or a version against the list that it carries: every file, size, hash and count.

Owns what is compared. Whether the rows fit each other is told by publishing/audit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcore_hf.core.folder import Folder, seal
from diffcore_hf.publishing.hub.remote import MANIFEST, Remote, State, blob_of


class NotAsSent(Exception):
    """What the Hub gives back is not what was sent; a commit may take a moment to be seen."""

    may_pass = True


def check_commit(remote: Remote, commit: str, manifest: Mapping[str, Any], folder: Path) -> None:
    """Raise NotAsSent where a commit is not the folder.

    Rows are counted from the footers, as a reader would find them.
    """
    state = remote.state(commit)
    if (state.manifest or {}).get("hash") != manifest["hash"]:
        raise NotAsSent(f"commit {commit[:12]} of {remote.repo_id} does not carry this folder's {MANIFEST}")
    if faults := faults_of(state, remote, folder):
        raise NotAsSent(f"commit {commit[:12]} of {remote.repo_id}: {faults[0]}")


def faults_of(state: State, remote: Remote, folder: Path | None = None) -> list[str]:
    """What does not fit in a commit, a line each; [] where all fits.

    Args:
        state: of the commit.
        remote: its repository.
        folder: the same files here, for those that git holds itself; None: they are fetched.
    """
    if state.manifest is None:
        return [f"there is no readable {MANIFEST}"]
    body = seal(state.manifest)
    faults = []
    if not _is(state, MANIFEST, body):
        faults.append(f"{MANIFEST} does not carry the hash of its own body")
    for entry in state.manifest["files"]:
        path, there = entry["path"], state.files.get(entry["path"])
        if there is None:
            faults.append(f"{path} is missing")
        elif there.size != entry["size"] or _sha256(path, state, remote, folder) != entry["sha256"]:
            faults.append(f"{path} is not the file that was exported")
        elif "rows" in entry and (rows := remote.rows(path, state.commit)) != entry["rows"]:
            faults.append(f"{path} has {rows} rows, not {entry['rows']}")
    return faults


def _is(state: State, path: str, content: bytes) -> bool:
    there = state.files[path]
    return there.sha256 == hashlib.sha256(content).hexdigest() if there.sha256 else there.blob == blob_of(content)


def _sha256(path: str, state: State, remote: Remote, folder: Path | None) -> str:
    """What the Hub says; of a file in git itself, which it knows by another hash, from the same file here."""
    there = state.files[path]
    if there.sha256:
        return there.sha256
    here = folder / path if folder else None
    if here is None or not there.holds(here):
        fetched = remote.api.hf_hub_download(remote.repo_id, path, repo_type="dataset", revision=state.commit)
        here = Path(fetched)
    with open(here, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def faults_here(out: str | Path) -> list[str]:
    """What does not fit in a local folder, rows included."""
    import pyarrow.parquet as pq

    folder = Folder(out)
    faults = folder.faults()
    for entry in [] if faults else folder.manifest()["files"]:
        if "rows" in entry and (rows := pq.read_metadata(folder.path / entry["path"]).num_rows) != entry["rows"]:
            faults.append(f"{entry['path']} has {rows} rows, not {entry['rows']}")
    return faults
