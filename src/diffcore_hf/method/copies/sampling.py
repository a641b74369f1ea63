"""Sampling: reads a part of a map at another size, with integers only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.method.arrays import Floats
from diffcore_hf.method.copies.prints import SIDE

UNIT = 256
"""Sum of the weights of one sampled position."""


def sampled(
    maps: NDArray[np.uint8], left: float, top: float, width: float, height: float, columns: int, rows: int
) -> Floats:
    """Return a part of the maps of a print, scaled to another size. Outside the maps, their border is repeated.

    Sums of integers below 2**53 are exact in float64, so the result does not depend on the order of the sums.

    Args:
        maps: (2, SIDE, SIDE) uint8.
        left: first column, as a share of the width; it may be negative.
        top: first row, as a share of the height.
        width: width of the part, as a share.
        height: height of the part, as a share.
        columns: width of the result.
        rows: height of the result.

    Returns:
        (2, rows, columns) float64 with integers in [0, 255].
    """
    return rounded(weights(top, height, rows) @ maps.astype(np.float64) @ weights(left, width, columns).T)


def rounded(sums: Floats) -> Floats:
    """Return averages as integers, from sums of pixels times the weights of their row and column."""
    averages: Floats = np.floor(sums / UNIT**2 + 0.5)
    return averages


def weights(start: float, length: float, size: int) -> Floats:
    """Return the (size, SIDE) integer weights of the pixels for each sampled position; each row has the sum UNIT.

    Args:
        start: first position, as a share of the side.
        length: length of the part, as a share of the side.
        size: number of positions.
    """
    return _weights(round(start * SIDE * 16), round(length * SIDE * 16), size)


@lru_cache(maxsize=4096)
def _weights(start: int, length: int, size: int) -> Floats:
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
    return whole
