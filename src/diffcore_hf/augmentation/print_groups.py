"""Print groups: real images with which other images are compared, as prints in memory.

Owns the reading of the images. The prints and the comparison are in method/copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from diffcore_hf.augmentation.picture_prints import print_of_cell
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.augmentation.stages.batches import worker_threads
from diffcore_hf.method.copies.nomination import PrintIndex
from diffcore_hf.method.copies.prints import Print
from diffcore_hf.method.copies.registration import closest

AT_ONCE = 64
"""Number of images that are read or compared at a time."""


class RealRow(NamedTuple):
    """A real image with which other images are compared."""

    split: str
    row: int
    """Index of the row in its split."""
    row_id: str
    sha256: str


class PrintGroup:
    """The prints of some real images, and the index of their hashes.

    Args:
        source: the source of the images.
        rows: the images. An image that cannot be decoded is never the closest image.
        advance: called with the number of further images that are read.
    """

    def __init__(
        self, source: LoadedSource, rows: Sequence[RealRow], advance: Callable[[int], object] = lambda count: None
    ) -> None:
        self.rows = rows
        self.pictures: list[Print | None] = []
        """The print of each row; None for an image that cannot be decoded."""
        with ThreadPoolExecutor(worker_threads()) as threads:
            # The images are read in blocks, so that few encoded images are in memory at a time.
            for start in range(0, len(rows), AT_ONCE):
                cells = _cells(source, rows[start : start + AT_ONCE])
                before = len(self.pictures)
                self.pictures += threads.map(lambda cell: print_of_cell(cell, source.files), cells)
                advance(len(self.pictures) - before)
        self._index = PrintIndex(self.pictures)

    def nominate(self, pictures: Sequence[Print]) -> list[list[int]]:
        """Return the indices of the images that are registered with each picture."""
        return self._index.nominate(pictures)

    def closest(self, picture: Print, nominees: Sequence[int]) -> tuple[RealRow, float] | None:
        """Return the closest image among `nominees` and the score of the pair; None if none of them can be compared."""
        others = [other for index in nominees if (other := self.pictures[index]) is not None]
        match = closest(picture, others)
        return None if match is None else (self.rows[nominees[match.image]], match.score)


def _cells(source: LoadedSource, rows: Sequence[RealRow]) -> Iterator[Any]:
    """Yield the undecoded images of some rows."""
    column = source.config.image
    tables = {name: split.select_columns([column]).with_format("arrow") for name, split in source.splits.items()}
    for real in rows:
        yield tables[real.split][real.row : real.row + 1][column].to_pylist()[0]
