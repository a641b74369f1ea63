"""Replacement of an export: the lock, the staging folder of each process, and the exchange of the published files.

Owns the order of the steps, so that the old export stays complete until the new one can replace it. Does not own the
content of the files (augmentation/export.py).

The name of a shard contains its hash. So new shards are moved beside the old ones, while the old card and the old
manifest still name only the old shards. Then the manifest, the pictures and the card are exchanged. If one of these
steps fails, all of them are undone. Last, files that the new manifest does not name are removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from diffcore_hf.core import leftovers
from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.folder import (
    MANIFEST,
    PUBLISHED,
    Folder,
    is_entry_file,
    manifest_bytes,
    sync_directory,
    unlisted_files,
)
from diffcore_hf.core.leftovers import temporary_name
from diffcore_hf.core.locks import NO_LOCKS

STAGING = "export"
"""Start of the name of a staging folder in `.diffcore/`."""
_TWO_EXPORTS = (
    "another process exported into this folder at the same time, and its file system has no locks. Run the same "
    "command again when the other process has ended"
)


class ExportIsRunning(Exception):
    """Raised when another process exports the same folder."""


@contextmanager
def exporting(folder: Folder, *, wait: bool = True) -> Iterator[None]:
    """Context of one export into a folder. Only one process exports a folder at a time.

    On a file system without locks, several processes can export at the same time. So the files are checked again after
    the exchange (`replace_export`).

    Args:
        folder: the output folder.
        wait: if another process exports this folder, true waits until it has finished, and false raises.

    Raises:
        ExportIsRunning: another process exports this folder, and `wait` is false.
    """
    from filelock import FileLock, Timeout

    folder.private.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder.private / "export.lock"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise ExportIsRunning(f"another process exports {folder.path}") from error
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in NO_LOCKS:
            if environment_fault(error) is not None:
                raise
            raise UserError(
                f"{lock.lock_file} cannot be locked ({innermost_cause(error)}). Delete it and run the command again"
            ) from error
    try:
        _remove_old_stagings(folder, locked=lock.is_locked)
        yield
    finally:
        lock.release()


def new_staging(folder: Folder) -> Path:
    """Return a new empty folder on the same disk. This process writes its export there."""
    path = temporary_name(folder.private / STAGING)
    path.mkdir(parents=True)
    return path


def _remove_old_stagings(folder: Folder, *, locked: bool) -> None:
    """Remove the staging folders of exports that were stopped.

    A process that holds the lock is the only one that exports. So it removes the folders of all hosts.
    """
    for path in folder.private.glob(f".{STAGING}.*.tmp"):
        if locked or leftovers.is_leftover(path.name):
            leftovers.remove(path)
    if locked:
        for name in ("export", "replaced"):  # earlier versions used these names
            leftovers.remove(folder.private / name)


def replace_export(folder: Folder, staging: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the published files of a folder with a finished export, and remove the staging folder.

    A process that is killed while the pictures and the card are exchanged leaves a folder without a manifest, which
    `Folder.is_incomplete` reports. The next export repairs it.

    Args:
        folder: the output folder.
        staging: the folder with the new files, from `new_staging`.
        manifest: content of diffcore.json. Its `files` lists all new files except the card.

    Raises:
        UserError: a new file changed after it was written, or another process exported at the same time. The second
            case is possible only on a file system without locks.
        OSError: a file cannot be written or renamed. The old export is complete.
    """
    try:
        _replace_export(folder, staging, manifest["files"], manifest_bytes(manifest))
    finally:
        leftovers.remove(staging)


def _replace_export(folder: Folder, staging: Path, entries: Sequence[Mapping[str, Any]], content: bytes) -> None:
    """Check the new files, exchange them, write the manifest and remove unlisted files; see `replace_export`."""
    for entry in entries:
        if not is_entry_file(staging / entry["path"], entry):
            raise UserError(
                f"{staging / entry['path']} changed after it was written, so nothing was replaced. Run the same "
                "command again. If this is repeated, check the disk"
            )
    new_manifest = staging / MANIFEST
    new_manifest.write_bytes(content)
    for file in sorted(staging.rglob("*")):
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
    exchange = _Exchange(folder.path, staging)
    try:
        exchange.run(entries)
        os.replace(new_manifest, folder.manifest_file)
    except BaseException:
        exchange.undo()
        raise
    sync_directory(folder.path)
    if folder.manifest_file.read_bytes() != content:
        raise UserError(_TWO_EXPORTS)
    for path in unlisted_files(folder.path, entries):
        path.unlink(missing_ok=True)
    _remove_empty_folders(folder.path)


class _Exchange:
    """The renames that replace published files, and their reversal.

    Args:
        root: the output folder.
        staging: the folder with the new files. Old files are kept there until the exchange has succeeded.
    """

    def __init__(self, root: Path, staging: Path):
        self._root, self._staging, self._old = root, staging, staging / "replaced"
        self._added: list[Path] = []
        self._kept: list[str] = []

    def run(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Move all new files except the manifest to their places, and put the old manifest aside."""
        later = [entry["path"] for entry in entries if not self._add(entry)]
        for folder in {(self._root / entry["path"]).parent for entry in entries if entry["path"] not in later}:
            sync_directory(folder)
        self._put_aside(MANIFEST)
        sync_directory(self._root)
        for name in PUBLISHED:
            path = self._root / name
            if path.is_symlink() or path.is_dir() == (name == "README.md"):
                self._put_aside(name)
        for name in (*later, "README.md"):
            if (self._staging / name).exists():
                self._replace(name)
        sync_directory(self._root)
        for entry in entries:
            if not is_entry_file(self._root / entry["path"], entry, hashed=False):
                raise UserError(_TWO_EXPORTS)

    def _add(self, entry: Mapping[str, Any]) -> bool:
        """Move a new file to its place, unless the same file is there. Return False if something else is there."""
        name = entry["path"]
        target, top = self._root / name, self._root / Path(name).parts[0]
        if top.is_symlink() or (top.exists() and not top.is_dir()):
            return False
        if os.path.lexists(target):
            return not target.is_symlink() and is_entry_file(target, entry)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._added.append(target)
        os.replace(self._staging / name, target)
        return True

    def _replace(self, name: str) -> None:
        """Put a new file in the place of an old one, in one step. The old file is kept for `undo`."""
        target, old = self._root / name, self._old / name
        if target.is_dir() and not target.is_symlink():
            self._put_aside(name)
        if os.path.lexists(target):
            old.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(target, old)
            self._kept.append(name)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._added.append(target)
        os.replace(self._staging / name, target)

    def _put_aside(self, name: str) -> None:
        """Move an old file or folder, if there is one, into the staging folder."""
        if os.path.lexists(self._root / name):
            (self._old / name).parent.mkdir(parents=True, exist_ok=True)
            self._kept.append(name)
            os.replace(self._root / name, self._old / name)

    def undo(self) -> None:
        """Put the old files back by renaming them, which needs no free disk space. A step that fails is skipped."""
        for path in self._added:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        _remove_empty_folders(self._root)
        for name in reversed(self._kept):
            with suppress(OSError):
                os.replace(self._old / name, self._root / name)
        with suppress(OSError):
            sync_directory(self._root)


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name. On a file system without links, copy it."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _remove_empty_folders(root: Path) -> None:
    """Remove the folders of published files that have no files any more."""
    for name in PUBLISHED:
        folders = [path for path in (root / name).rglob("*") if path.is_dir()] if (root / name).is_dir() else []
        for path in [*sorted(folders, reverse=True), root / name]:
            with suppress(OSError):  # the folder has files
                path.rmdir()
