"""Sampling: reads a part of a map at another size, with integers only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.method.copies.prints import SIDE
from diffcore_hf.method.copies.windows import Window

UNIT = 256
"""Sum of the weights of one sampled position."""

Levels = NDArray[np.float32]
"""Integers in [0, 255], as float32. Sums of their products with the weights are below 2**24, so they are exact."""


def sampled(
    maps: NDArray[np.uint8], left: float, top: float, width: float, height: float, columns: int, rows: int
) -> Levels:
    """Return a part of some maps, scaled to another size. Outside the maps, their border is repeated.

    Sums of integers below 2**24 are exact in float32, so the result does not depend on the order of the sums.

    Args:
        maps: (..., SIDE, SIDE) uint8.
        left: first column, as a share of the width; it may be negative.
        top: first row, as a share of the height.
        width: width of the part, as a share.
        height: height of the part, as a share.
        columns: width of the result.
        rows: height of the result.

    Returns:
        (..., rows, columns) float32 with integers in [0, 255].
    """
    return rounded(weights(top, height, rows) @ maps.astype(np.float32) @ weights(left, width, columns).T)


def sampled_parts(maps: NDArray[np.uint8], places: Sequence[Window], size: int) -> Levels:
    """Return several parts of the maps of a print, each scaled to a square.

    Args:
        maps: (2, SIDE, SIDE) uint8.
        places: n parts.
        size: width and height of the result.

    Returns:
        (2, n, size, size) float32 with integers in [0, 255]. Each part is that of `sampled`.
    """
    down: Levels = np.stack([weights(place.top, place.height, size) for place in places])
    across: Levels = np.stack([weights(place.left, place.width, size).T for place in places])
    # Small products stay in this thread. The library of numpy divides one large product among threads of its own, which
    # takes ten times the CPU time while other threads compare images too.
    whole: Levels = maps.astype(np.float32).reshape(2, 1, SIDE, SIDE)
    sums: Levels = np.matmul(np.matmul(down, whole), across)
    return rounded(sums)


def rounded(sums: Levels) -> Levels:
    """Return averages as integers, from sums of pixels times the weights of their row and column."""
    averages: Levels = np.floor(sums / np.float32(UNIT**2) + np.float32(0.5))
    return averages


def weights(start: float, length: float, size: int) -> Levels:
    """Return the (size, SIDE) integer weights of the pixels for each sampled position. Each row has the sum UNIT.

    Args:
        start: first position, as a share of the side.
        length: length of the part, as a share of the side.
        size: number of positions.
    """
    return _weights(round(start * SIDE * 16), round(length * SIDE * 16), size)


@lru_cache(maxsize=4096)
def _weights(start: int, length: int, size: int) -> Levels:
    """Return the weights of a part whose start and length are given in 1/16 pixels."""
    step = length / 16 / size
    centres = start / 16 + (np.arange(size) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    pixels = np.arange(-2 * SIDE, 3 * SIDE)
    triangle = np.clip(1 - np.abs(pixels[None, :] - centres[:, None]) / reach, 0, None)
    folded = triangle[:, 2 * SIDE : 3 * SIDE].copy()
    folded[:, 0] += triangle[:, : 2 * SIDE].sum(axis=1)
    folded[:, -1] += triangle[:, 3 * SIDE :].sum(axis=1)
    whole = np.floor(folded / folded.sum(axis=1, keepdims=True) * UNIT + 0.5)
    # Rounding may change the sum by a few units. The difference is added to the largest weight.
    largest = whole.argmax(axis=1)
    whole[np.arange(size), largest] += UNIT - whole.sum(axis=1)
    return whole.astype(np.float32)
