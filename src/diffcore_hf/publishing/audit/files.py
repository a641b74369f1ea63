"""Files: checks which files a dataset has, and that none of them is a link.

Owns the rules for paths in diffcore.json, for links, and for files that no manifest lists. Does not compare the content
of files (publishing/hub/verification.py).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path, PurePosixPath

from diffcore_hf.core.folder import MANIFEST, PUBLISHED
from diffcore_hf.core.manifest import Manifest
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.publishing.audit.report import Verification

CARD, COMPARISON = "README.md", "compare.json"
SIGNATURES = {name: f"{name}.sig" for name in (MANIFEST, COMPARISON)}
"""Signed file -> its signature."""
_UNLISTED = (CARD, MANIFEST, COMPARISON, *SIGNATURES.values())
"""Published files that no manifest lists."""
_PRIVATE = (".diffcore", ".git", ".cache")
"""Folders that are never published."""
_FREE = (".gitattributes", ".gitignore", "LICENSE", "LICENSE.md", "LICENSE.txt")
_SHARD_FOLDERS = tuple(name for name in PUBLISHED if name not in ("assets", CARD))


def listed_faults(manifest: Manifest) -> list[str]:
    """Return the faults of the list of files: impossible paths, repeated paths, and shards without an entry."""
    entries = [entry["path"] for entry in manifest["files"]]
    faults = [
        f"{MANIFEST} names {visible(repr(path))}, which is not the path of a file in a dataset"
        for path in entries
        if not _fits(path)
    ]
    faults += [f"{MANIFEST} names {path} {count} times" for path, count in Counter(entries).items() if count > 1]
    with_rows = {entry["path"] for entry in manifest["files"] if "rows" in entry}
    filled = {entry["path"] for entry in manifest["files"] if entry.get("rows")}
    shards = list(chain.from_iterable(paths for splits in manifest["configs"].values() for paths in splits.values()))
    faults += [f"{MANIFEST} names the shard {path} without its hash" for path in shards if path not in with_rows]
    faults += [f"{MANIFEST} lists {path}, which no configuration uses" for path in sorted(filled - set(shards))]
    faults += [
        f"{MANIFEST} lists {path} without its number of rows"
        for path in entries
        if path.split("/")[0] in _SHARD_FOLDERS and path not in with_rows
    ]
    faults += [
        f"{MANIFEST} uses the shard {path} {count} times" for path, count in Counter(shards).items() if count > 1
    ]
    return faults


def other_files(names: Iterable[str], manifest: Manifest, result: Verification) -> None:
    """Check the files that the manifest does not list.

    A file beside the shards could be loaded with them, so it is a fault. Other files are notes, because a person may
    add pictures and texts.

    Args:
        names: relative paths of all files of the dataset.
        manifest: content of diffcore.json.
        result: gets the faults and notes.
    """
    listed = {entry["path"] for entry in manifest["files"]}
    for name in sorted(names):
        parts = PurePosixPath(name).parts
        if name in listed or name in _UNLISTED or name in _FREE or parts[0] in _PRIVATE:
            continue
        if parts[0] in _SHARD_FOLDERS and not parts[-1].startswith("."):
            result.faults.append(f"{visible(name)} is not in {MANIFEST}. Delete it, or export again")
        else:
            result.notes.append(f"{visible(name)} is not a file of diffcore-hf, so it is not checked")


def folder_files(folder: Path, manifest: Manifest) -> Verification:
    """Check the files of a folder: links, and files that the manifest does not list."""
    result = Verification(listed_faults(manifest))
    cache = _hub_cache(folder)
    found = []
    for root, folders, files in os.walk(folder):
        below = Path(root).relative_to(folder)
        if below == Path():
            folders[:] = [name for name in folders if name not in _PRIVATE]
        found += [(below / name).as_posix() for name in files]
        for name in [*folders, *files]:
            path = Path(root, name)
            if path.is_symlink() and not (cache and path.resolve().parent == cache):
                result.faults.append(f"{visible((below / name).as_posix())} is a link. Replace it by the file")
    other_files(found, manifest, result)
    return result


def _hub_cache(folder: Path) -> Path | None:
    """Return the folder of files of a repository in the cache of the Hub; None if the folder is not in such a cache.

    A snapshot in this cache has a link to each file.
    """
    parent = folder.absolute().parent
    blobs = parent.parent / "blobs"
    return blobs.resolve() if parent.name == "snapshots" and blobs.is_dir() else None


def _fits(path: str) -> bool:
    """Return whether a path names a file in a folder of shards or pictures."""
    parts = path.split("/")
    return len(parts) == 2 and parts[0] in PUBLISHED and parts[1] not in ("", ".", "..") and "\\" not in path
