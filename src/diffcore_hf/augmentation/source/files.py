"""Files: lists every file of a local folder without patterns, and states why a file is not read.

Owns the walk through the folder, the rule for symbolic links and the kind of each file. A listing has two lists: the
files of a known kind, and the other entries. Every entry that is not a folder is in exactly one of them. Does
not choose what a file means for the dataset (layouts.py).

A symbolic link is followed if its target is inside the folder. A link that leads out of the folder is followed only
with `source.follow_links: outside`. A folder is entered through at most one link, so a walk always ends.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from diffcore_hf.augmentation.source.file_kinds import HEAD_SIZE, Kind, kind_of

FollowLinks = Literal["inside", "outside"]

HIDDEN = "hidden file"
SYSTEM = "file of the operating system"
NOT_REGULAR = "not a regular file"
EMPTY = "empty file"
UNREADABLE = "file that cannot be opened"
UNREADABLE_FOLDER = "folder that cannot be opened"
NOT_UTF8 = "name that is not valid UTF-8"
LINK_OUT = "link that leads out of the folder"
LINK_BROKEN = "link without a target"
LINK_CIRCULAR = "link to a folder that contains it"
LINK_AGAIN = "link to a folder that another link leads to"

_SYSTEM_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r", "__macosx", "__pycache__"})
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_SPECIAL = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class SourceFile(NamedTuple):
    """A file of the source folder whose kind is known."""

    path: str
    """Path below the folder, with `/` between its parts."""
    kind: Kind
    size: int
    """Number of bytes."""
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    linked: bool = False
    """Whether a symbolic link leads to the file."""


class UnreadFile(NamedTuple):
    """An entry of the source folder that gives no row."""

    path: str
    """Path below the folder, with `/` between its parts. Bytes that are not valid UTF-8 are escaped."""
    reason: str
    """Reason without the name of the file, so that files can be counted by reason."""
    detail: str = ""
    """What the reason does not state, such as the target of a link or the option that reads the file."""


@dataclass(frozen=True)
class Listing:
    """All entries of a folder that are not folders."""

    root: str
    """Absolute path of the folder without symbolic links."""
    files: tuple[SourceFile, ...]
    """Files of a known kind, sorted by path."""
    unread: tuple[UnreadFile, ...]
    """The other entries, sorted by path."""
    outside: tuple[str, ...] = ()
    """Absolute targets of links that lead out of the folder and were followed."""

    def of_kind(self, *kinds: Kind) -> list[SourceFile]:
        """Returns the files of some kinds, in order."""
        return [file for file in self.files if file.kind in kinds]


KindOf = Callable[[str, os.stat_result], "Kind | str"]
"""Function of a file's absolute path and state that returns its kind, or the reason why it is not read."""


def list_files(root: Path, follow_links: FollowLinks = "inside", kinds: KindOf | None = None) -> Listing:
    """Lists the entries of a folder. No file other than a regular one is opened.

    Args:
        root: an existing folder.
        follow_links: `outside` also follows links that lead out of the folder.
        kinds: function that returns the kind of a file. The default reads its first bytes. The hash cache passes
            another function.
    """
    walk = _Walk(os.path.realpath(root), follow_links, kinds or read_kind)
    walk.enter_root()
    files, unread = sorted(walk.files), sorted(walk.unread)
    return Listing(walk.root, tuple(files), tuple(unread), tuple(sorted(walk.outside)))


def read_kind(path: str, state: os.stat_result) -> Kind | str:
    """Returns the kind of a file from its first bytes, or the reason why it is not read."""
    if state.st_size == 0:
        return EMPTY
    try:
        handle = os.open(path, _OPEN_FLAGS)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return NOT_REGULAR
            head = os.read(handle, HEAD_SIZE)
        finally:
            os.close(handle)
    except (OSError, ValueError):
        return UNREADABLE
    return kind_of(os.path.basename(path), head)


class _Folder(NamedTuple):
    """A folder of the walk that is still to be entered."""

    location: str
    """Absolute path to open."""
    path: str
    """Path below the root, with `/` at the end; empty for the root."""
    reason: str
    """Reason for all files in it, such as HIDDEN; empty if they may be read."""
    linked: bool
    """Whether a link leads to it."""
    ancestors: tuple[tuple[int, int], ...]
    """(device, inode) of the folder and of the folders above it on this path."""


class _Walk:
    """State of one walk through a folder."""

    def __init__(self, root: str, follow_links: FollowLinks, kinds: KindOf):
        self.root, self.follow_links, self.kinds = root, follow_links, kinds
        self.files: list[SourceFile] = []
        self.unread: list[UnreadFile] = []
        self.outside: set[str] = set()
        self.entered_by_link: set[tuple[int, int]] = set()

    def enter_root(self) -> None:
        """Walks through the whole folder, in the order of the names."""
        state = os.stat(self.root)
        waiting = [_Folder(self.root, "", "", False, ((state.st_dev, state.st_ino),))]
        while waiting:
            waiting += reversed(list(self._enter(waiting.pop())))

    def _enter(self, folder: _Folder) -> Iterator[_Folder]:
        """Records the files of a folder and yields its sub-folders."""
        try:
            with os.scandir(folder.location) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self._leave_out(folder.path, UNREADABLE_FOLDER, error.strerror or "")
            return
        for entry in entries:
            path = folder.path + entry.name
            reason = folder.reason or _reason_of_name(entry.name)
            try:
                state = entry.stat(follow_symlinks=False)
            except OSError as error:
                self._leave_out(path, UNREADABLE, error.strerror or "")
                continue
            if stat.S_ISLNK(state.st_mode):
                yield from self._link(folder, entry.path, path, reason)
            elif stat.S_ISDIR(state.st_mode):
                key = (state.st_dev, state.st_ino)
                if folder.linked and key in self.entered_by_link:
                    self._leave_out(path, LINK_AGAIN)
                    continue
                if folder.linked:
                    self.entered_by_link.add(key)
                yield _Folder(entry.path, path + "/", reason, folder.linked, (*folder.ancestors, key))
            else:
                self._file(entry.path, path, state, reason, linked=folder.linked)

    def _link(self, folder: _Folder, location: str, path: str, reason: str) -> Iterator[_Folder]:
        """Records the file that a link leads to, or yields the folder."""
        if reason:
            self._leave_out(path, reason)
            return
        try:
            target = os.path.realpath(location, strict=True)
            state = os.stat(target)
        except (OSError, ValueError):
            self._leave_out(path, LINK_BROKEN, _target(location))
            return
        inside = target == self.root or target.startswith(self.root.rstrip("/") + "/")
        if not inside and self.follow_links != "outside":
            self._leave_out(path, LINK_OUT, f"target {target}; --source.follow_links outside reads it")
            return
        if not stat.S_ISDIR(state.st_mode):
            recorded = self._file(location, path, state, "", linked=True)
            if recorded and not inside:
                self.outside.add(target)
            return
        key = (state.st_dev, state.st_ino)
        if key in folder.ancestors:
            self._leave_out(path, LINK_CIRCULAR, f"target {target}")
        elif key in self.entered_by_link:
            self._leave_out(path, LINK_AGAIN, f"target {target}")
        else:
            self.entered_by_link.add(key)
            if not inside:
                self.outside.add(target)
            yield _Folder(location, path + "/", "", True, (*folder.ancestors, key))

    def _file(self, location: str, path: str, state: os.stat_result, reason: str, *, linked: bool) -> bool:
        """Records an entry that is not a folder. Returns whether it can be read."""
        if reason:
            self._leave_out(path, reason)
            return False
        if not stat.S_ISREG(state.st_mode):
            self._leave_out(path, NOT_REGULAR, _SPECIAL.get(stat.S_IFMT(state.st_mode), ""))
            return False
        kind = self.kinds(location, state)
        if kind not in ("image", "table", "data", "archive"):
            reason, _, detail = kind.partition(": ")
            self._leave_out(path, reason, detail)
            return False
        times = (state.st_mtime_ns, state.st_ctime_ns)
        self.files.append(SourceFile(path, kind, state.st_size, *times, state.st_ino, state.st_dev, linked))  # type: ignore[arg-type]
        return True

    def _leave_out(self, path: str, reason: str, detail: str = "") -> None:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        self.unread.append(UnreadFile(shown, reason, os.fsencode(detail).decode("utf-8", "backslashreplace")))


def _reason_of_name(name: str) -> str:
    """Returns why an entry of this name is not read; empty if its name does not exclude it."""
    if name.casefold() in _SYSTEM_NAMES or name.startswith("._"):
        return SYSTEM
    if name.startswith("."):
        return HIDDEN
    try:
        name.encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return ""


def _target(location: str) -> str:
    """Returns the text of a link for a message."""
    try:
        return f"target {os.readlink(location)}"
    except OSError:
        return ""
