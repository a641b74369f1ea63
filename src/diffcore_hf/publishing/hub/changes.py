"""Changes: the files that one commit adds and deletes, so that a repository has the files of one version only.

Owns the comparison of a folder with a repository, as a pure function. Does not decide which files a folder publishes
(core/folder.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffcore_hf.core.manifest import FileEntry, Manifest
from diffcore_hf.publishing.audit.files import COMPARISON, SIGNATURES
from diffcore_hf.publishing.hub.remote import MANIFEST, RemoteFile, State, blob_of


@dataclass(frozen=True)
class Changes:
    """The additions and deletions of one commit. Its truth value is false if there are none."""

    add: Mapping[str, Path | bytes]
    """Path in the repository -> the local file or the content."""
    delete: tuple[str, ...]
    """Paths in the repository."""

    def __bool__(self) -> bool:
        return bool(self.add or self.delete)

    def size(self) -> int:
        """Return the number of bytes to add, on the assumption that the Hub stores none of the files yet."""
        return sum(len(c) if isinstance(c, bytes) else c.stat().st_size for c in self.add.values())


def changes_to(folder: Path, manifest: Manifest, extra: Mapping[str, bytes], head: State | None) -> Changes:
    """Compare a folder with the head of a repository.

    Files that another tool or a person added to the repository are kept. Files that the manifest in the repository
    lists and the new manifest does not are deleted.

    Args:
        folder: a finished folder.
        manifest: the parsed diffcore.json of the folder.
        extra: path -> content of the published files that the manifest does not list: the card and compare.json.
        head: the latest commit of the repository; None if there is no repository yet.
    """
    remote = head.files if head else {}
    add: dict[str, Path | bytes] = {}
    listed = {entry["path"]: entry for entry in manifest["files"]}
    for path, entry in listed.items():
        if path not in remote or not _is_entry(remote[path], entry, folder / path):
            add[path] = folder / path
    for path, content in {**extra, MANIFEST: (folder / MANIFEST).read_bytes()}.items():
        if path not in remote or not _is_content(remote[path], content):
            add[path] = content
    if head is None or head.manifest is None:
        return Changes(add, ())
    older = [entry["path"] for entry in head.manifest.get("files", ())]
    delete = [path for path in older if path in remote and path not in listed]
    # If the folder does not have such a file, the comparison or signature on the Hub belongs to an older version.
    delete += [path for path in (COMPARISON, *SIGNATURES.values()) if path in remote and path not in extra]
    return Changes(add, tuple(sorted(delete)))


def _is_entry(remote: RemoteFile, entry: FileEntry, local: Path) -> bool:
    if remote.sha256 is not None:
        return (remote.size, remote.sha256) == (entry["size"], entry["sha256"])
    return remote.equals(local)


def _is_content(remote: RemoteFile, content: bytes) -> bool:
    if remote.sha256 is not None:
        return hashlib.sha256(content).hexdigest() == remote.sha256
    return blob_of(content) == remote.blob
