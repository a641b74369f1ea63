"""Bytes to pixels and back: the only door for image bytes, through Pillow alone.

Owns which formats are read, how every mode becomes RGB, what counts as unreadable, and how generated images are
encoded. Does not own where images are stored, nor what a model makes of the pixels.

A *cell* is the undecoded storage of `datasets.Image`: {"bytes": ..., "path": ...}; bytes win over the path.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from diffcore_hf.core.jpeg import Decoder

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")


class UnreadableImage(ValueError):
    """An image that cannot be decoded; the message is a short reason for the row."""


def read_bytes(cell: Mapping | None) -> bytes:
    """The encoded bytes of a cell.

    Raises:
        UnreadableImage: the cell is empty, or its local file cannot be read.
    """
    content = (cell or {}).get("bytes")
    if content:
        return bytes(content)
    path = (cell or {}).get("path")
    if not path:
        raise UnreadableImage("no image")
    if "://" in path:
        raise UnreadableImage("not a local file")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"file not readable ({type(error).__name__})") from error


def decode(cell: Mapping | None) -> Image.Image:
    """A cell as an RGB image: EXIF orientation applied, transparency on white, first frame, 8 bits a channel.

    Raises:
        UnreadableImage: empty, truncated, no image in one of FORMATS, or of more than MAX_PIXELS pixels.
    """
    return decode_bytes(read_bytes(cell))


def decode_bytes(content: bytes) -> Image.Image:
    """`decode` for bytes at hand."""
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"more than {MAX_PIXELS // 10**6} megapixels") from error
    except Exception as error:  # Pillow's plugins raise nearly anything on garbage
        raise UnreadableImage(f"no image in a known format ({len(content)} bytes)") from error
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(f"{image.width} x {image.height}, more than {MAX_PIXELS // 10**6} megapixels")
    try:
        image.load()
        return to_rgb(_upright(image))
    except Exception as error:
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise UnreadableImage(f"broken {image.format}: {reason}") from error


def decode_pixels(cell: Mapping | None, fast: Decoder | None = None) -> np.ndarray:
    """A cell as (H, W, 3) uint8, the same pixels as `decode`.

    Args:
        cell: undecoded storage of an image.
        fast: the decoder of jpeg.py, tried first; for training alone, facts are made through Pillow.

    Raises:
        UnreadableImage: as `decode`.
    """
    content = read_bytes(cell)
    pixels = fast(content) if fast else None
    return to_array(decode_bytes(content)) if pixels is None else pixels


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow as RGB: transparency on white, deep grey scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bits(image)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        if image.mode == "La":  # premultiplied grey converts to LA alone
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def encode(image: np.ndarray | Image.Image, image_format: Literal["jpeg", "png", "webp"] = "jpeg") -> bytes:
    """An RGB image, (H, W, 3) uint8 or PIL, as JPEG (quality 95, 4:4:4), PNG or lossless WebP."""
    options = {
        "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
        "png": {"format": "PNG", "compress_level": 4},
        "webp": {"format": "WEBP", "lossless": True},
    }
    if image_format not in options:
        raise ValueError(f"image_format is {image_format!r}; use one of {', '.join(options)}")
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))
    buffer = io.BytesIO()
    picture.save(buffer, **options[image_format])
    return buffer.getvalue()


def shrink(image: Image.Image, shorter_side: int | None) -> Image.Image:
    """Reduced so that the shorter side has `shorter_side` pixels (Lanczos); never enlarged, null keeps all pixels."""
    short = min(image.size)
    if shorter_side is None or short <= shorter_side:
        return image
    width, height = (max(1, round(side * shorter_side / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def to_array(image: Image.Image) -> np.ndarray:
    """An RGB image as (H, W, 3) uint8, writable."""
    return np.array(image, dtype=np.uint8)


def sha256(content: bytes) -> str:
    """Hex digest of encoded bytes, as stored in `image_sha256` and `source_sha256`."""
    return hashlib.sha256(content).hexdigest()


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return image


def _to_8_bits(image: Image.Image) -> np.ndarray:
    """Deep grey as uint8: 16-bit modes by 1/257; `I` and `F` by what their range suggests."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    low, high = values.min(), values.max()
    if image.mode.startswith("I;16"):
        values = values / 257
    elif image.mode == "F" and low >= 0 and high <= 1:
        values = values * 255
    elif low < 0 or high > 65535:
        values = (values - low) * (255 / (high - low))
    elif high > 255:
        values = values / 257
    return values.round().clip(0, 255).astype(np.uint8)
