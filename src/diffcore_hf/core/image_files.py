"""Image files: reads the file that an image cell names, if the file belongs to the dataset.

An untrusted dataset may name any path. So only a regular file inside the folders of the dataset (its roots) is read.
Its content must also have the signature of an image. The content of other files is never returned, and no reason
contains it.

Owns the checks of a path. Does not choose the roots of a dataset (image_roots.py).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffcore_hf.core.image_archives import archive_of, read_member
from diffcore_hf.core.image_formats import HEAD, UnreadableImage, signature
from diffcore_hf.core.image_modes import GreyRange

MAX_BYTES = 400_000_000
"""Largest size of an encoded image in bytes."""

_READ_SIZE = 2**20
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_FLAGS |= getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class ImageFiles:
    """The folders whose files an image cell may name."""

    roots: tuple[str, ...] = ()
    """Absolute folders without symbolic links in their paths. If there are none, no file is read."""
    option: str = "source.root"
    """The option with which a file outside the roots is read. The reason names it; "" if there is no such option."""
    link_option: str = ""
    """The same for a path inside the roots that leads out of them through a link; "" if there is no such option."""
    grey_range: GreyRange = "dtype"
    """How grey values with more than 8 bits are converted to 8 bits."""

    def read(self, path: str) -> bytes:
        """Return the content of an image file.

        Raises:
            UnreadableImage: the path is not absolute, leads out of the roots, names no regular file, or the file is too
                large or has no signature of an accepted format. Then no content was read, except for the first bytes
                of a file inside the roots.
        """
        archived = archive_of(path) if isinstance(path, str) else None
        with self._opened(archived[0] if archived else path) as (handle, size):
            if archived:
                return read_member(handle, *archived, MAX_BYTES)
            if size > MAX_BYTES:
                raise UnreadableImage(too_large(size))
            head = _read(handle, HEAD)
            if not head:
                raise UnreadableImage("no image (0 bytes)")
            if signature(head) is None:
                raise UnreadableImage(f"no image in a known format ({size} bytes)")
            # One read of the expected size, because joining blocks would need the memory twice.
            os.lseek(handle, 0, os.SEEK_SET)
            content = _read(handle, MAX_BYTES + 1, expected=size + 1)
            if len(content) > MAX_BYTES:
                raise UnreadableImage(too_large(len(content)))
            return content

    def size(self, path: str) -> int:
        """Return the size of an image file in bytes; 0 for an image in an archive, whose size is not known.

        Raises:
            UnreadableImage: see `read`.
        """
        if archive_of(path):
            return 0
        with self._opened(path) as (_, size):
            return size

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[int, int]]:
        """Give the handle and the size of a file that belongs to the dataset.

        Raises:
            UnreadableImage: the file does not belong to the dataset, or it cannot be read.
        """
        _check_path(path)
        if not self.roots:
            raise UnreadableImage(_with_option("the dataset names a file, and only stored bytes are read", self.option))
        try:
            if not self._contains(os.path.realpath(path)):
                raise UnreadableImage(self._outside(path))
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise UnreadableImage("not a regular file")
            handle = os.open(path, _FLAGS)
            try:
                # The checks are repeated on the open file, because the path may name another file by now.
                opened = os.fstat(handle)
                if not stat.S_ISREG(opened.st_mode):
                    raise UnreadableImage("not a regular file")
                if not self._contains(_location(handle, path, opened)):
                    raise UnreadableImage(self._outside(path))
                yield handle, opened.st_size
            finally:
                os.close(handle)
        except UnreadableImage:
            raise
        except OSError as error:
            raise UnreadableImage(f"file not readable ({error.strerror})") from error
        except ValueError as error:  # a lone surrogate, which no file name can contain
            raise UnreadableImage("its path is not a file name") from error

    def _contains(self, location: str) -> bool:
        """Return whether an absolute path without links lies inside a root."""
        return any(Path(location).is_relative_to(root) for root in self.roots)

    def _outside(self, path: str) -> str:
        """Return the reason for a path that leads out of the roots."""
        by_link = self._contains(os.path.normpath(path))
        return _with_option("the file is outside the dataset", self.link_option if by_link else self.option)


def _with_option(fault: str, option: str) -> str:
    return f"{fault} ({option})" if option else fault


NO_FILES = ImageFiles()
"""The default if the folder of a dataset is not known: no path is read."""


def too_large(size: int) -> str:
    """Return the reason why an image of `size` encoded bytes is not read: this is more than MAX_BYTES."""
    return f"{size // 10**6} MB, more than {MAX_BYTES // 10**6} MB"


def _check_path(path: object) -> None:
    """Raise UnreadableImage unless a value is an absolute path of this machine."""
    if not isinstance(path, str):
        raise UnreadableImage(f"its path is a {type(path).__name__}, not a text")
    if "\0" in path:
        raise UnreadableImage("its path has a null byte")
    if "://" in path:
        raise UnreadableImage("not a local file")
    if not os.path.isabs(path):
        raise UnreadableImage("its path is relative")


def _location(handle: int, path: str, opened: os.stat_result) -> str:
    """Return the absolute path of an open file without links.

    Raises:
        UnreadableImage: the path no longer names the file that was opened.
    """
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise
    # Systems without /proc: the path without links must name the file that was opened.
    location = os.path.realpath(path)
    now = os.stat(location)
    if (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino):
        raise UnreadableImage("the file changed while it was read")
    return location


def _read(handle: int, most: int, expected: int = _READ_SIZE) -> bytes:
    """Return up to `most` bytes of an open file; fewer only at its end. `expected` bytes are read at once."""
    chunks: list[bytes] = []
    count = min(expected, most)
    while count > 0 and (chunk := os.read(handle, count)):
        chunks.append(chunk)
        most -= len(chunk)
        count = min(_READ_SIZE, most)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
