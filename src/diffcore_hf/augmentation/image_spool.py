"""Generated images of one export, copied from the parts in the order of the parts.

Owns the check of each part before its images are exported. The rows of an export are in the order of the source, so the
images of neighbouring rows are in different parts. Therefore each part is opened once, and its images are copied into
one temporary file, from which they can be read in any order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from diffcore_hf.augmentation.part_files import DamagedPart, Location, check_file, images_in, open_part

MEMORY_BYTES = 64_000_000
"""Largest number of bytes of images that are kept in memory. More images are written to a file on disk."""


class ImageSpool:
    """The images of an export, stored by the index of their attempt.

    Args:
        file: the temporary file.
        count: number of attempts.
    """

    def __init__(self, file: IO[bytes], count: int):
        self._file = file
        self._start = np.full(count, -1, np.int64)
        self._size = np.zeros(count, np.int64)

    def add(self, attempt: int, image: bytes | None) -> None:
        """Append the image of an attempt; None: it has none."""
        self._start[attempt] = self._file.tell()
        self._size[attempt] = self._file.write(image or b"")

    def size(self) -> int:
        """Return the number of bytes of all images."""
        return int(self._size.sum())

    def has(self, attempt: int) -> bool:
        """Return whether the image of an attempt was added."""
        return bool(self._start[attempt] >= 0)

    def read(self, attempt: int) -> bytes | None:
        """Return the image of an attempt that was added; None: it has none."""
        self._file.seek(int(self._start[attempt]))
        return self._file.read(int(self._size[attempt])) or None


@contextmanager
def image_spool(
    parts: Sequence[Path], locations: Mapping[int, Location], count: int, folder: Path
) -> Iterator[ImageSpool]:
    """Check all parts, copy images from them and yield the images. The copy is removed at the end.

    Args:
        parts: all parts of the run, in the order in which they are opened.
        locations: location of the image of each attempt that is copied.
        count: number of attempts.
        folder: folder on the disk that has space for the images.

    Raises:
        DamagedPart: the bytes of a part are not those that were written. No image of it was used.
    """
    by_part: dict[Path, dict[int, list[int]]] = {}
    for attempt, (path, row) in locations.items():
        by_part.setdefault(path, {}).setdefault(row, []).append(attempt)
    with tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=str(folder)) as file:
        spool = ImageSpool(file, count)
        for path in parts:
            _copy(path, by_part.pop(path, {}), spool)
        if by_part:
            raise DamagedPart(next(iter(by_part)), "it does not exist any more")
        yield spool


def _copy(path: Path, attempts: Mapping[int, Sequence[int]], spool: ImageSpool) -> None:
    """Check a part and copy its images. `attempts` maps a row of the part to the indices of its attempts."""
    try:
        with open_part(path) as opened:
            check_file(path, opened)
            for row, image in images_in(path, opened, list(attempts)) if attempts else ():
                for attempt in attempts[row]:
                    spool.add(attempt, image)
    except FileNotFoundError as error:
        raise DamagedPart(path, "it does not exist any more") from error
