"""Reads format, size and mode of an image from its header, without decoding pixels."""

from __future__ import annotations

import functools
import io
from typing import NamedTuple

from PIL import Image

from diffcore_hf.core.image_formats import FORMATS, HEAD, signature


class ImageHeader(NamedTuple):
    """What the header of an image file states."""

    format: str
    """Name of the format in Pillow, such as JPEG."""
    width: int
    """Width in pixels, before the EXIF orientation is applied."""
    height: int
    """Height in pixels, before the EXIF orientation is applied."""
    mode: str
    """Mode of the pixels in Pillow, such as RGB."""


def read_header(content: bytes) -> ImageHeader | None:
    """Returns the header of an image file; None if its bytes are not an image in an accepted format.

    Args:
        content: the bytes of the file.
    """
    if signature(content[:HEAD]) is None:
        return None
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            return ImageHeader(image.format or "", image.width, image.height, image.mode)
    except Exception:  # the plugins of Pillow raise many types for invalid bytes
        return None


@functools.cache
def _formats() -> tuple[str, ...]:
    """Returns the accepted formats that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
