"""Reads format, size and mode of an image from its header, without decoding pixels."""

from __future__ import annotations

from typing import NamedTuple

from diffcore_hf.core.images import opened


class ImageHeader(NamedTuple):
    """Facts in the header of an image file."""

    format: str
    """Name of the format in Pillow, such as JPEG."""
    width: int
    """Width in pixels, before the EXIF orientation is applied."""
    height: int
    """Height in pixels, before the EXIF orientation is applied."""
    mode: str
    """Mode of the pixels in Pillow, such as RGB."""


def read_header(content: bytes) -> ImageHeader:
    """Returns the header of an image file.

    Args:
        content: the bytes of the file.

    Raises:
        UnreadableImage: `decode` would refuse the image before it decodes pixels.
    """
    image, _ = opened(content)
    return ImageHeader(image.format or "", image.width, image.height, image.mode)
