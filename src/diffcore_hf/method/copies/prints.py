"""Prints: the small maps of an image that are compared with those of other images.

A print has a grey map and a map of edges. The edges are those of all colour channels together, so they hardly change
if the image gets other colours. All numbers are integers, so a print does not depend on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Width and height of the maps. The whole image is scaled to this square."""

Maps = NDArray[np.uint8]


@dataclass(frozen=True)
class Print:
    """The maps of one image."""

    maps: Maps
    """(2, SIDE, SIDE) uint8: grey and edges."""
    aspect: float
    """Width of the image divided by its height."""

    def mirrored(self) -> Print:
        """Return the print of the mirrored image."""
        return Print(np.ascontiguousarray(self.maps[:, :, ::-1]), self.aspect)


def make_print(pixels: NDArray[np.uint8], aspect: float) -> Print:
    """Return the print of an image.

    Args:
        pixels: (SIDE, SIDE, 3) uint8: the whole image, scaled to a square.
        aspect: width of the original image divided by its height.

    Raises:
        ValueError: the pixels have another shape.
    """
    if pixels.shape != (SIDE, SIDE, 3):
        raise ValueError(f"the pixels have shape {pixels.shape}, not {(SIDE, SIDE, 3)}")
    values = pixels.astype(np.int64)
    grey = (299 * values[..., 0] + 587 * values[..., 1] + 114 * values[..., 2]) // 1000
    across, down = _differences(values, 1), _differences(values, 0)
    energy = (across**2 + down**2).sum(axis=2)
    edges = np.minimum(np.sqrt(energy.astype(np.float64)).astype(np.int64), 255)
    return Print(np.stack([_smooth(grey), _smooth(edges)]).astype(np.uint8), aspect)


def _differences(values: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Return the differences of the two neighbours of each pixel along an axis; the border is repeated."""
    padded = np.pad(values, [(1, 1) if at == axis else (0, 0) for at in range(values.ndim)], "edge")
    size = values.shape[axis]
    after, before = np.arange(2, size + 2), np.arange(size)
    return padded.take(after, axis) - padded.take(before, axis)


def _smooth(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a map smoothed with the weights 1, 2, 1 along both axes."""
    for axis in (0, 1):
        padded = np.pad(values, [(1, 1) if at == axis else (0, 0) for at in range(2)], "edge")
        size = values.shape[axis]
        steps = [padded.take(np.arange(start, start + size), axis) for start in range(3)]
        values = (steps[0] + 2 * steps[1] + steps[2] + 2) // 4
    return values
