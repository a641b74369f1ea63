"""Windows: the parts of an image that a crop may show.

Crops keep the aspect of the image, or they are square. Windows of both kinds are placed on a grid that is so dense that
each crop is close to a window.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

SHARES = (1.0, 0.875, 0.75)
"""Sides of the windows, as shares of the side of the image."""
SPACING = 0.17
"""Largest distance of two neighbouring windows, as a share of their own side."""
SQUARE = 0.06
"""Images whose aspect differs from 1 by less than this are treated as square."""


class Window(NamedTuple):
    """A part of an image, in shares of its width and height."""

    left: float
    top: float
    width: float
    height: float


WHOLE = Window(0.0, 0.0, 1.0, 1.0)


@cache
def windows_of(aspect: float) -> tuple[Window, ...]:
    """Return the windows of an image, the whole image first.

    Args:
        aspect: width of the image divided by its height. It is rounded to a multiple of 0.05 by `rounded_aspect`, so
            that few lists are made.
    """
    windows: dict[Window, None] = {}
    for width, height in shapes_of(aspect):
        for left in starts(width):
            for top in starts(height):
                windows[Window(left, top, width, height)] = None
    return tuple(windows)


@cache
def shapes_of(aspect: float) -> tuple[tuple[float, float], ...]:
    """Return the widths and heights of the windows of an image, in shares of its width and height."""
    shapes = [(1.0, 1.0)]
    if abs(aspect - 1) >= SQUARE:
        shapes.append((1 / aspect, 1.0) if aspect > 1 else (1.0, aspect))
    return tuple((share * width, share * height) for share in SHARES for width, height in shapes)


def rounded_aspect(aspect: float) -> float:
    """Return an aspect as a multiple of 0.05 in [0.25, 4]."""
    return round(20 * min(max(aspect, 0.25), 4.0)) / 20


@cache
def starts(side: float) -> tuple[float, ...]:
    """Return the coordinates at which windows with this side begin, from 0 to 1 - side."""
    free = 1 - side
    count = int(-(-free // (SPACING * side))) if free > 1e-9 else 0
    return tuple(free * index / count for index in range(count + 1)) if count else (0.0,)
