"""Makes small runs cheap: equal pictures are drawn once in a process, and files are not synced to the disk.

The drawing has tests of its own in tests/publishing/pictures, and the syncing in tests/core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffcore_hf.workflows import pictures


@contextmanager
def cheap_runs() -> Iterator[None]:
    """Draws few tiles, remembers pictures, and replaces fsync, which together took a third of the time of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "SHEET_TILES", 2)
        patch.setattr(pictures, "png_bytes", _remembered(pictures.png_bytes))
        histograms = pictures.histograms
        patch.setattr(histograms, "similarity_histogram", _remembered(histograms.similarity_histogram))
        patch.setattr(os, "fsync", os.fstat)  # fstat raises for an invalid descriptor, as fsync does
        yield


_DRAWN: dict[tuple[object, ...], bytes] = {}
"""Encoded pictures by the function that drew them and the content of its arguments."""


def _remembered(draw: Callable[..., bytes]) -> Callable[..., bytes]:
    """Returns a function that calls `draw` once for arguments with equal content."""

    @wraps(draw)
    def drawn(*arguments: Any, **named: Any) -> bytes:
        key = (draw.__name__, *map(_content, arguments), *sorted(named.items()))
        if key not in _DRAWN:
            _DRAWN[key] = draw(*arguments, **named)
        return _DRAWN[key]

    return drawn


def _content(argument: Image.Image | np.ndarray) -> tuple[object, ...]:
    """Returns the content of an image or an array as a key."""
    if isinstance(argument, Image.Image):
        return argument.mode, argument.size, argument.tobytes()
    return argument.dtype.str, argument.shape, argument.tobytes()
