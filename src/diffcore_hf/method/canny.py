"""Canny edges: a map of the contours of an image (Canny 1986), in the convention of OpenCV.

The computation uses integers only, so the map does not depend on the machine. Sobel derivatives of 3 x 3 pixels give
the gradient, with the L1 norm. Each pixel uses the channel with the largest norm. The image is not smoothed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.method.arrays import Bools, Ints

Pixels = NDArray[np.uint8]

TANGENT_SHIFT = 15
TANGENT_OF_22_5 = int(np.floor(np.tan(np.pi / 8) * 2**TANGENT_SHIFT + 0.5))
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def canny(pixels: Pixels, low: int, high: int) -> Bools:
    """Return where an image has an edge.

    A pixel is a candidate if its gradient is above `low` and is the largest one along its direction. An edge consists
    of connected candidates, at least one of which has a gradient above `high`.

    Args:
        pixels: (H, W, 3) uint8.
        low: gradient that every pixel of an edge exceeds, in [0, 2040].
        high: gradient that at least one pixel of each edge exceeds; at least `low`.

    Returns:
        (H, W) bool.
    """
    dx, dy = _gradient(pixels.astype(np.int64))
    norm = np.abs(dx) + np.abs(dy)
    candidates = _thinned(norm, dx, dy) & (norm > low)
    return _connected(candidates & (norm > high), candidates)


def _gradient(pixels: Ints) -> tuple[Ints, Ints]:
    """Return the horizontal and the vertical derivative, each (H, W), of the channel with the largest norm."""
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), "edge")
    across = padded[:, 2:] - padded[:, :-2]
    dx = across[:-2] + 2 * across[1:-1] + across[2:]
    down = padded[2:] - padded[:-2]
    dy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    chosen = (np.abs(dx) + np.abs(dy)).argmax(2)[..., None]
    return np.take_along_axis(dx, chosen, 2)[..., 0], np.take_along_axis(dy, chosen, 2)[..., 0]


def _thinned(norm: Ints, dx: Ints, dy: Ints) -> Bools:
    """Return (H, W) bool: where the norm is the largest one of three pixels in the direction of the gradient.

    The direction is one of four: horizontal, vertical, or one of the two diagonals.
    """
    height, width = norm.shape
    padded = np.pad(norm, 1)

    def at(down: int, right: int) -> Ints:
        return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    x, y = np.abs(dx), np.abs(dy) << TANGENT_SHIFT
    lower = x * TANGENT_OF_22_5
    upper = lower + (x << (TANGENT_SHIFT + 1))  # tan(67.5 degrees) is tan(22.5 degrees) + 2
    is_horizontal, is_vertical = y < lower, y > upper
    is_falling = (dx < 0) == (dy < 0)
    horizontal = (norm > at(0, -1)) & (norm >= at(0, 1))
    vertical = (norm > at(-1, 0)) & (norm >= at(1, 0))
    falling = (norm > at(-1, -1)) & (norm > at(1, 1))
    rising = (norm > at(-1, 1)) & (norm > at(1, -1))
    return np.select([is_horizontal, is_vertical, is_falling], [horizontal, vertical, falling], rising)


def _connected(starts: Bools, candidates: Bools) -> Bools:
    """Return the candidates that are connected with a pixel of `starts`. Each pixel has eight neighbours."""
    height, width = starts.shape
    # A border of false values, so that each pixel has eight neighbours.
    open_pixels = np.pad(candidates & ~starts, 1).ravel()
    found = np.pad(starts, 1).ravel()
    steps = np.array([down * (width + 2) + right for down, right in NEIGHBOURS])
    newest = np.flatnonzero(found)
    while newest.size:
        near = np.unique((newest[:, None] + steps).ravel())
        newest = near[open_pixels[near]]
        open_pixels[newest] = False
        found[newest] = True
    return found.reshape(height + 2, width + 2)[1:-1, 1:-1]
