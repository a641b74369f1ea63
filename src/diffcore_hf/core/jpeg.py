"""A faster way through the door for JPEG: for training alone, and only where it gives Pillow's very pixels.

Owns the optional decoder (the extra `fast`, simplejpeg) and the check that lets it in. Whatever it does not take (other
formats, CMYK, turned or broken files) goes through Pillow (images.py).
"""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Callable

import numpy as np
from PIL import Image

from diffcore_hf.core.images import MAX_PIXELS, decode_bytes, to_array

log = logging.getLogger(__name__)

Decoder = Callable[[bytes], "np.ndarray | None"]


@functools.cache
def fast_decoder() -> Decoder | None:
    """JPEG bytes -> (H, W, 3) uint8, or None for what is not its business; None where there is no such decoder.

    It is let in once per process, after it gave the same pixels as Pillow for every sampling of colours, grey, and
    sequential as well as progressive files. The outcome is logged.
    """
    try:
        import simplejpeg
    except ImportError:
        log.info("JPEG is decoded by Pillow; the extra `fast` (pip install simplejpeg) is about twice as quick")
        return None
    decode = functools.partial(_decode, simplejpeg)
    if not all(_equal(decode, content) for content in _samples()):
        log.warning(
            "simplejpeg %s does not give Pillow's pixels here: JPEG is decoded by Pillow", simplejpeg.__version__
        )
        return None
    log.info("JPEG is decoded by simplejpeg %s, checked against Pillow", simplejpeg.__version__)
    return decode


def _decode(simplejpeg, content: bytes) -> np.ndarray | None:
    if content[:3] != b"\xff\xd8\xff":
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if height * width > MAX_PIXELS or colours not in ("YCbCr", "Gray") or _is_turned(content):
            return None
        return simplejpeg.decode_jpeg(content, colorspace="RGB", fastdct=False, fastupsample=False)
    except ValueError:  # broken or truncated: Pillow says in which way
        return None


def _is_turned(content: bytes) -> bool:
    """Whether the EXIF block asks for another orientation."""
    if not _may_have_exif(content):
        return False
    try:
        return Image.open(io.BytesIO(content), formats=("JPEG",)).getexif().get(0x0112, 1) != 1
    except Exception:  # a broken block: Pillow's business
        return True


def _may_have_exif(content: bytes) -> bool:
    """Whether an EXIF block stands before the pixels, or the segments cannot be followed up to them.

    From length to length: a search through the file would read every byte of it.
    """
    place = 2
    while content[place : place + 2] not in (b"\xff\xda", b""):
        marker, length = content[place : place + 2], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker[:1] != b"\xff" or marker[1:] == b"\xff" or length < 2:
            return True  # fill bytes, or damage
        if marker == b"\xff\xe1" and content[place + 4 : place + 10] == b"Exif\0\0":
            return True
        place += 2 + length
    return False


def _samples() -> list[bytes]:
    grain = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(grain).resize((75, 53), Image.Resampling.BICUBIC)
    kinds = [{"subsampling": sampling, "progressive": p} for sampling in (0, 1, 2) for p in (False, True)]
    return [_encoded(picture, **kind) for kind in kinds] + [_encoded(picture.convert("L"))]


def _encoded(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=87, **options)
    return buffer.getvalue()


def _equal(decode: Decoder, content: bytes) -> bool:
    pixels = decode(content)
    return pixels is not None and np.array_equal(pixels, to_array(decode_bytes(content)))
