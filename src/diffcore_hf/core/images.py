"""Decodes and encodes images with Pillow.

Owns the conversion of every mode to RGB, the reasons why an image is unreadable, and the encoding of generated images.
The accepted formats are in image_formats.py, the files that a cell may name in image_files.py.

A *cell* is an undecoded value of `datasets.Image`: {"bytes": ..., "path": ...}. The path is used only if there are no
bytes.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps

from diffcore_hf.core.errors import innermost_cause
from diffcore_hf.core.image_files import MAX_BYTES, NO_FILES, ImageFiles, too_large
from diffcore_hf.core.image_formats import HEAD, UnreadableImage, signature

if TYPE_CHECKING:
    from diffcore_hf.core.jpeg import Decoder

__all__ = [
    "NO_FILES",
    "ImageFiles",
    "UnreadableImage",
    "decode",
    "decode_bytes",
    "decode_pixels",
    "encode",
    "read_bytes",
    "sha256",
    "shrink",
    "signature",
    "to_array",
    "to_rgb",
]

MAX_PIXELS = 100_000_000


def read_bytes(cell: Any, files: ImageFiles = NO_FILES) -> bytes:
    """Return the encoded bytes of a cell: those that it contains, else those of the file that it names.

    Args:
        cell: undecoded storage of an image.
        files: the files that the cell may name; the default accepts no path.

    Raises:
        UnreadableImage: the cell is empty or is not one of `datasets.Image`, the bytes have no signature of an accepted
            format, or the file may not be read (ImageFiles.read).
    """
    if cell is None:
        raise UnreadableImage("no image")
    if not isinstance(cell, Mapping):
        raise UnreadableImage(f"no image cell, but a {type(cell).__name__}")
    content, path = cell.get("bytes"), cell.get("path")
    if content is not None and not isinstance(content, (bytes, bytearray, memoryview)):
        raise UnreadableImage(f"its bytes are a {type(content).__name__}")
    if content is not None and len(content):
        return _checked(bytes(content))
    if path is None or path == "":
        raise UnreadableImage("no image")
    return files.read(path)


def _checked(content: bytes) -> bytes:
    """Return encoded bytes that have the signature of an accepted format."""
    if len(content) > MAX_BYTES:
        raise UnreadableImage(too_large(len(content)))
    if signature(content[:HEAD]) is None:
        raise UnreadableImage(f"no image in a known format ({len(content)} bytes)")
    return content


def decode(cell: Any, files: ImageFiles = NO_FILES) -> Image.Image:
    """Return a cell as an RGB image: EXIF orientation applied, transparency on white, first frame, 8 bits per channel.

    Args:
        cell: undecoded storage of an image.
        files: the files that the cell may name; the default accepts no path.

    Raises:
        UnreadableImage: see `read_bytes`; or the image is truncated, or has more than MAX_PIXELS pixels.
    """
    return decode_bytes(read_bytes(cell, files))


def decode_bytes(content: bytes) -> Image.Image:
    """Return encoded bytes as an RGB image; see `decode`."""
    kind = signature(content[:HEAD])
    if kind is None:
        raise UnreadableImage(f"no image in a known format ({len(content)} bytes)")
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=_plugins(kind))
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"more than {MAX_PIXELS // 10**6} megapixels") from error
    except Exception as error:  # the plugins of Pillow raise many types for invalid bytes
        raise UnreadableImage(f"no image in a known format ({len(content)} bytes)") from error
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(f"{image.width} x {image.height}, more than {MAX_PIXELS // 10**6} megapixels")
    try:
        image.load()
        return to_rgb(_upright(image))
    except Exception as error:
        reason = " ".join(str(error).split())[:80] or innermost_cause(error, 80)
        raise UnreadableImage(f"broken {image.format}: {reason}") from error


def decode_pixels(cell: Any, fast: Decoder | None = None, files: ImageFiles = NO_FILES) -> np.ndarray:
    """Return a cell as (H, W, 3) uint8, the same pixels as `decode`.

    Args:
        cell: undecoded storage of an image.
        fast: the decoder of jpeg.py, which is then tried first. Only training uses it, because all facts are computed
            with Pillow.
        files: the files that the cell may name; the default accepts no path.

    Raises:
        UnreadableImage: see `decode`.
    """
    content = read_bytes(cell, files)
    pixels = fast(content) if fast else None
    return to_array(decode_bytes(content)) if pixels is None else pixels


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB: transparency on white, 16-bit and 32-bit grey scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bits(image)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        if image.mode == "La":  # Pillow converts premultiplied grey only to LA
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def encode(image: np.ndarray | Image.Image, image_format: Literal["jpeg", "png", "webp"] = "jpeg") -> bytes:
    """Encode an RGB image, (H, W, 3) uint8 or PIL, as JPEG (quality 95, 4:4:4), PNG or lossless WebP."""
    options: dict[str, dict[str, Any]] = {
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
    """Reduce an image so that its shorter side has `shorter_side` pixels (Lanczos); None keeps all pixels.

    A smaller image is returned as it is.
    """
    short = min(image.size)
    if shorter_side is None or short <= shorter_side:
        return image
    width, height = (max(1, round(side * shorter_side / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def to_array(image: Image.Image) -> np.ndarray:
    """Return an RGB image as (H, W, 3) uint8, writable."""
    return np.array(image, dtype=np.uint8)


def sha256(content: bytes) -> str:
    """Return the hex digest of encoded bytes, as stored in `image_sha256` and `source_sha256`."""
    return hashlib.sha256(content).hexdigest()


@functools.cache
def _plugins(kind: str) -> tuple[str, ...]:
    """Return the names of Pillow's plugins for a format.

    Raises:
        UnreadableImage: this build of Pillow cannot read the format.
    """
    Image.init()
    if kind not in Image.OPEN:
        raise UnreadableImage(f"{kind}, which the installed version of Pillow cannot read")
    return (kind, "MPO") if kind == "JPEG" else (kind,)


def _upright(image: Image.Image) -> Image.Image:
    """Return the image rotated to the orientation in its EXIF block."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block does not make the pixels unreadable
        return image


def _to_8_bits(image: Image.Image) -> np.ndarray:
    """Return 16-bit or 32-bit grey as uint8.

    16-bit modes are divided by 257. For modes `I` and `F` the scale depends on the range of the values."""
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
