"""Changes: what one commit has to add and to delete, so that a repository holds a folder and nothing of an older one.

Owns this comparison, as a pure function. Does not own what a folder publishes (core/folder.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.publishing.hub.remote import MANIFEST, RemoteFile, State, blob_of

COMPARISON = "compare.json"


@dataclass(frozen=True)
class Changes:
    """Of one commit."""

    add: Mapping[str, Path | bytes]
    """Path in the repository -> what is to lie there."""
    delete: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.delete)

    def bytes(self) -> int:
        """Size of what is added, if nothing of it is stored yet."""
        return sum(len(c) if isinstance(c, bytes) else c.stat().st_size for c in self.add.values())


def changes(folder: Path, manifest: Mapping[str, Any], beside: Mapping[str, bytes], there: State | None) -> Changes:
    """From what is there to a folder.

    Files that a person has put into the repository stay; of what an older version's manifest lists nothing stays.

    Args:
        folder: finished.
        manifest: its diffcore.json, as parsed.
        beside: files outside the manifest's list, by path: the card, the result of trainings.
        there: the head of the repository; None: nothing.
    """
    files = there.files if there else {}
    add: dict[str, Path | bytes] = {}
    listed = {entry["path"]: entry for entry in manifest["files"]}
    for path, entry in listed.items():
        if path not in files or not _same(files[path], entry, folder / path):
            add[path] = folder / path
    for path, content in {**beside, MANIFEST: (folder / MANIFEST).read_bytes()}.items():
        if path not in files or not _holds(files[path], content):
            add[path] = content
    older = [entry["path"] for entry in (there.manifest or {}).get("files", ())] if there else []
    gone = [path for path in older if path in files and path not in listed]
    if there and there.manifest and COMPARISON in files and COMPARISON not in beside:
        gone.append(COMPARISON)  # of an older version, and not of this one
    return Changes(add, tuple(sorted(gone)))


def _same(remote: RemoteFile, entry: Mapping[str, Any], local: Path) -> bool:
    if remote.sha256 is not None:
        return (remote.size, remote.sha256) == (entry["size"], entry["sha256"])
    return remote.holds(local)


def _holds(remote: RemoteFile, content: bytes) -> bool:
    if remote.sha256 is not None:
        return hashlib.sha256(content).hexdigest() == remote.sha256
    return blob_of(content) == remote.blob
