"""Nomination: perceptual hashes of images, and the choice of the images that are registered.

The hash of a window has 64 averages of the grey map and 64 averages of the edge map. The mean of each map is
subtracted, and both vectors are scaled to the same length. The values are stored as integers of one byte. The product
of two hashes is a sum of integers, so it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.method.copies.prints import Print
from diffcore_hf.method.copies.sampling import Levels, rounded, sampled, weights
from diffcore_hf.method.copies.windows import WHOLE, rounded_aspect, shapes_of, starts

CELLS = 8
WIDTH = 2 * CELLS * CELLS
"""Length of a hash."""
SCALE = 180.0
"""Number by which the values of a vector of length 1 are multiplied before they are rounded."""
NOMINEES = 16
"""Number of images that are registered with each tested image."""
QUERIES, ROWS = 64, 32768
"""Numbers of tested images and of windows that are compared at a time."""

Hashes = NDArray[np.int8]


def picture_hash(picture: Print) -> Hashes:
    """Return the (WIDTH,) int8 hash of a whole image."""
    return _hashes(sampled(picture.maps, *WHOLE, CELLS, CELLS).reshape(1, 2, -1))[0]


def window_hashes(picture: Print) -> Hashes:
    """Return the (n, WIDTH) int8 hashes of the n windows of an image, in the order of `windows_of`."""
    maps = picture.maps.astype(np.float32)
    hashes = []
    for width, height in shapes_of(rounded_aspect(picture.aspect)):
        lefts, tops = starts(width), starts(height)
        down = np.concatenate([weights(top, height, CELLS) for top in tops])
        across = np.concatenate([weights(left, width, CELLS) for left in lefts])
        cells = rounded(down @ maps @ across.T).reshape(2, len(tops), CELLS, len(lefts), CELLS)
        hashes.append(_hashes(cells.transpose(3, 1, 0, 2, 4).reshape(len(lefts) * len(tops), 2, -1)))
    return np.concatenate(hashes)


def _hashes(levels: Levels) -> Hashes:
    """Return the (n, WIDTH) hashes of the averages (n, 2, CELLS**2) of some windows."""
    cells = levels.astype(np.float64)
    centred = cells * cells.shape[-1] - cells.sum(axis=-1, keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=-1, keepdims=True))
    unit = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
    return np.clip(np.rint(unit * SCALE), -127, 127).astype(np.int8).reshape(len(cells), -1)


def likeness(first: Hashes, second: Hashes) -> float:
    """Return the product of two hashes, about 1 for equal pictures."""
    return int(first.astype(np.int64) @ second.astype(np.int64)) / (2 * SCALE**2)


class PrintIndex:
    """The hashes of all windows of some images.

    Args:
        pictures: prints of the images; None: an image that cannot be read and is never nominated.
    """

    def __init__(self, pictures: Sequence[Print | None]):
        hashes: list[Hashes] = []
        self._images: list[int] = []
        for image, picture in enumerate(pictures):
            if picture is not None:
                hashes.append(window_hashes(picture))
                self._images.append(image)
        self._hashes = np.concatenate(hashes) if hashes else np.zeros((0, WIDTH), np.int8)
        self._starts = np.cumsum([0, *map(len, hashes)])

    def __len__(self) -> int:
        """Return the number of images that can be nominated."""
        return len(self._images)

    def nominate(self, tested: Sequence[Print], count: int = NOMINEES) -> list[list[int]]:
        """Return the indices of the closest images of each tested image, the closest first.

        Args:
            tested: prints of the images that are compared. Their mirror images are compared as well.
            count: largest number of images.
        """
        found: list[list[int]] = []
        for start in range(0, len(tested), QUERIES):
            found += self._nominate(tested[start : start + QUERIES], min(count, len(self)))
        return found

    def _nominate(self, tested: Sequence[Print], count: int) -> list[list[int]]:
        if not count:
            return [[] for _ in tested]
        queries = [*map(picture_hash, tested), *(picture_hash(picture.mirrored()) for picture in tested)]
        best = self._best_products(np.stack(queries).astype(np.float32).T)
        either = np.maximum(best[:, : len(tested)], best[:, len(tested) :])
        return [[self._images[position] for position in _largest(column, count)] for column in either.T]

    def _best_products(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (images, queries): the largest product over the windows of each image. The sums are exact."""
        best = np.empty((len(self), queries.shape[1]), np.float32)
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self._starts, self._starts[first] + ROWS, "right")) - 1
            last = min(max(last, first + 1), len(self))
            rows = slice(int(self._starts[first]), int(self._starts[last]))
            products = self._hashes[rows].astype(np.float32) @ queries
            best[first:last] = np.maximum.reduceat(products, self._starts[first:last] - self._starts[first], axis=0)
            first = last
        return best


def _largest(values: NDArray[np.float32], count: int) -> list[int]:
    """Return the indices of the largest values, the largest first. Equal values are in the order of their indices."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    candidates = np.flatnonzero(values >= least)
    order: list[int] = candidates[np.lexsort((candidates, -values[candidates]))][:count].tolist()
    return order
