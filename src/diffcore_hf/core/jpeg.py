"""A faster JPEG decoder for training, used only if its pixels are equal to those of Pillow.

Owns the optional decoder (the extra `fast`, simplejpeg) and its check. Pillow (images.py) decodes all other images:
other formats, CMYK, and rotated or damaged files.
"""

from __future__ import annotations

import functools
import io
import itertools
import logging
from collections.abc import Callable
from types import ModuleType

import numpy as np
from PIL import Image

from diffcore_hf.core.image_cost import MAX_ASPECT, MAX_SCANS
from diffcore_hf.core.images import decode_bytes, to_array

MOST_PIXELS = 16_000_000
"""Larger images are decoded by Pillow, within the memory that all threads share."""

log = logging.getLogger(__name__)

Decoder = Callable[[bytes], "np.ndarray | None"]


@functools.cache
def fast_decoder() -> Decoder | None:
    """Return a decoder of JPEG bytes to (H, W, 3) uint8; None if simplejpeg is missing or differs from Pillow.

    The decoder returns None for an image that Pillow must decode. It is checked once per process with colour images
    of every chroma subsampling, sequential and progressive, and with a grey image. The result is logged.
    """
    try:
        import simplejpeg
    except ImportError:
        log.info("JPEG is decoded by Pillow; simplejpeg (pip install 'diffcore-hf[fast]') is about twice as fast")
        return None
    decode = functools.partial(_decode, simplejpeg)
    if not all(_equal(decode, content) for content in _samples()):
        log.warning(
            "simplejpeg %s and Pillow give different pixels on this machine, so JPEG is decoded by Pillow",
            simplejpeg.__version__,
        )
        return None
    log.info("JPEG is decoded by simplejpeg %s, checked against Pillow", simplejpeg.__version__)
    return decode


def _decode(simplejpeg: ModuleType, content: bytes) -> np.ndarray | None:
    if content[:3] != b"\xff\xd8\xff":
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if not _is_common(content, width, height) or colours not in ("YCbCr", "Gray") or _is_rotated(content):
            return None
        pixels: np.ndarray = simplejpeg.decode_jpeg(content, colorspace="RGB", fastdct=False, fastupsample=False)
        return pixels
    except ValueError:  # a damaged file: Pillow reports the reason
        return None


def _is_common(content: bytes, width: int, height: int) -> bool:
    """Return whether an image has a size, a shape and a number of scans that need no special treatment by Pillow."""
    common_shape = width * height <= MOST_PIXELS and max(width, height) <= MAX_ASPECT * min(width, height)
    return common_shape and content.count(b"\xff\xda") <= MAX_SCANS


def _is_rotated(content: bytes) -> bool:
    """Return whether the EXIF block contains a rotation."""
    if not _may_have_exif(content):
        return False
    try:
        return bool(Image.open(io.BytesIO(content), formats=("JPEG",)).getexif().get(0x0112, 1) != 1)
    except Exception:  # Pillow decodes files with a damaged EXIF block
        return True


def _may_have_exif(content: bytes) -> bool:
    """Return whether there is an EXIF block before the pixels, or the segments before the pixels cannot be parsed.

    The function jumps from segment to segment, because a search would read every byte of the file.
    """
    offset = 2
    while content[offset : offset + 2] not in (b"\xff\xda", b""):
        marker, length = content[offset : offset + 2], int.from_bytes(content[offset + 2 : offset + 4], "big")
        if marker[:1] != b"\xff" or marker[1:] == b"\xff" or length < 2:
            return True  # only in files with fill bytes or damage
        if marker == b"\xff\xe1" and content[offset + 4 : offset + 10] == b"Exif\0\0":
            return True
        offset += 2 + length
    return False


def _samples() -> list[bytes]:
    """Return one small JPEG file of every kind that the fast decoder decodes."""
    noise = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((75, 53), Image.Resampling.BICUBIC)
    kinds = itertools.product((0, 1, 2), (False, True))
    coloured = [_encoded(picture, subsampling=sampling, progressive=progressive) for sampling, progressive in kinds]
    return [*coloured, _encoded(picture.convert("L"))]


def _encoded(picture: Image.Image, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=87, **options)
    return buffer.getvalue()


def _equal(decode: Decoder, content: bytes) -> bool:
    pixels = decode(content)
    return pixels is not None and np.array_equal(pixels, to_array(decode_bytes(content)))
