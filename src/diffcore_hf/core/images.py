"""Decodes and encodes images with Pillow.

Owns the way from a cell to pixels, the reasons why an image is unreadable, and the encoding of generated images.

    image_formats.py  the accepted formats, recognised by content
    image_files.py    the files that a cell may name
    image_cost.py     the bounds on size, shape, memory and time
    image_memory.py   the memory that the threads share
    image_modes.py    the conversion of every mode to RGB

A *cell* is an undecoded value of `datasets.Image`: {"bytes": ..., "path": ...}. The path is used only if there are no
bytes.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin

from diffcore_hf.core.errors import innermost_cause
from diffcore_hf.core.image_cost import FULL_PIXELS, MAX_PIXELS, DecodingPlan, check_tiff, decoding_plan
from diffcore_hf.core.image_files import MAX_BYTES, NO_FILES, ImageFiles, too_large
from diffcore_hf.core.image_formats import HEAD, UnreadableImage, signature
from diffcore_hf.core.image_marks import ImageMark
from diffcore_hf.core.image_memory import BUDGET, decoding
from diffcore_hf.core.image_modes import GreyRange, is_deep_grey, looks_underexposed, to_array, to_rgb

if TYPE_CHECKING:
    from diffcore_hf.core.jpeg import Decoder

__all__ = [
    "FULL_PIXELS",
    "MAX_PIXELS",
    "NO_FILES",
    "ImageFiles",
    "UnreadableImage",
    "at_most",
    "decode",
    "decode_bytes",
    "decode_pixels",
    "encode",
    "is_underexposed",
    "looks_underexposed",
    "read_bytes",
    "reserved",
    "sha256",
    "shrink",
    "signature",
    "to_array",
    "to_rgb",
]

LARGE_FILE = 2**24
"""Files with more bytes are read one at a time."""


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


@contextmanager
def reserved(cell: Any, files: ImageFiles = NO_FILES) -> Iterator[bytes]:
    """Yield the encoded bytes of a cell. Until the block ends, the memory for decoding them is reserved.

    Decode the image inside the block, and do there all work on its pixels at full size. Other threads wait while the
    images of all blocks would take more than the budget of the process (image_memory.py).

    Raises:
        UnreadableImage: see `read_bytes`. Bytes that cannot be decoded raise nothing here.
    """
    with _content(cell, files) as content, decoding.reserve(_memory(content)):
        yield content


def decode(cell: Any, files: ImageFiles = NO_FILES) -> Image.Image:
    """Return a cell as an RGB image: EXIF orientation applied, transparency on white, first frame, 8 bits per channel.

    An image of more than FULL_PIXELS pixels is returned at a quarter of its width and height.

    Args:
        cell: undecoded storage of an image.
        files: the files that the cell may name; the default accepts no path.

    Raises:
        UnreadableImage: see `read_bytes` and `decode_bytes`.
    """
    with reserved(cell, files) as content:
        return decode_bytes(content, files.grey_range)


def decode_bytes(content: bytes, grey_range: GreyRange = "dtype") -> Image.Image:
    """Return encoded bytes as an RGB image; see `decode`.

    Raises:
        UnreadableImage: the bytes are truncated or damaged, in no accepted format, of an extreme size or shape, or
            they would take too much memory (image_cost.py).
    """
    image, plan = opened(content)
    with decoding.reserve(plan.memory):
        try:
            if plan.in_decoder and plan.reduction > 1:
                _reduce_in_decoder(image, plan.reduction)
            image.load()
            turn = _turn(image)
            rgb = to_rgb(image, reduction=1 if plan.in_decoder else plan.reduction, grey_range=grey_range)
            return rgb if turn is None else rgb.transpose(turn)
        except Image.DecompressionBombError as error:  # a bound of Pillow on one strip, frame or tile
            raise UnreadableImage(
                f"{image.width} x {image.height} {image.format}, larger than Pillow decodes in one piece"
            ) from error
        except Exception as error:  # the plugins of Pillow raise many types for damaged bytes
            raise UnreadableImage(f"broken {image.format}: {_cause(error)}") from error


def decode_pixels(
    cell: Any, fast: Decoder | None = None, files: ImageFiles = NO_FILES, *, most: int = FULL_PIXELS
) -> np.ndarray:
    """Return a cell as (H, W, 3) uint8, the same pixels as `decode`.

    Args:
        cell: undecoded storage of an image.
        fast: the decoder of jpeg.py, which is tried before Pillow; None: only Pillow is used. Only training gives a
            decoder here, because all facts are computed with Pillow.
        files: the files that the cell may name; the default accepts no path.
        most: largest number of pixels; a larger image is reduced by a whole factor.

    Raises:
        UnreadableImage: see `decode`.
    """
    with _content(cell, files) as content:
        pixels = fast(content) if fast else None
        if pixels is not None:
            return pixels
        with decoding.reserve(_memory(content)):
            return to_array(at_most(decode_bytes(content, files.grey_range), most))


def is_underexposed(content: bytes) -> bool:
    """Return whether encoded bytes hold 16-bit grey that becomes nearly black; see `looks_underexposed`.

    Raises:
        UnreadableImage: see `decode_bytes`.
    """
    image, plan = opened(content)
    if not is_deep_grey(image):
        return False
    with decoding.reserve(plan.memory):
        try:
            return looks_underexposed(image)
        except Exception as error:
            raise UnreadableImage(f"broken {image.format}: {_cause(error)}") from error


def at_most(image: Image.Image, pixels: int) -> Image.Image:
    """Return an RGB image reduced by the smallest whole factor with which it has at most this number of pixels."""
    factor = 1
    while math.ceil(image.width / factor) * math.ceil(image.height / factor) > pixels:
        factor += 1
    return image.reduce(factor) if factor > 1 else image


def encode(
    image: np.ndarray | Image.Image,
    image_format: Literal["jpeg", "png", "webp"] = "jpeg",
    mark: ImageMark | None = None,
) -> bytes:
    """Encode an RGB image, (H, W, 3) uint8 or PIL, as JPEG (quality 95, 4:4:4), PNG or lossless WebP.

    The file contains the mark as XMP, if there is one. The mark does not change the pixels.
    """
    options: dict[str, dict[str, Any]] = {
        "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
        "png": {"format": "PNG", "compress_level": 4},
        "webp": {"format": "WEBP", "lossless": True},
    }
    if image_format not in options:
        raise ValueError(f"image_format is {image_format!r}; use one of {', '.join(options)}")
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {}
    if mark is not None and image_format == "png":
        metadata["pnginfo"] = PngImagePlugin.PngInfo()
        metadata["pnginfo"].add_itxt("XML:com.adobe.xmp", mark.packet().decode("ascii"))
    elif mark is not None:
        metadata["xmp"] = mark.packet()
    picture.save(buffer, **options[image_format], **metadata)
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


def sha256(content: bytes) -> str:
    """Return the hex digest of encoded bytes, as stored in `image_sha256` and `source_sha256`."""
    return hashlib.sha256(content).hexdigest()


def opened(content: bytes) -> tuple[ImageFile.ImageFile, DecodingPlan]:
    """Return an image whose header was read, and how it is decoded.

    Raises:
        UnreadableImage: see `decode_bytes`.
    """
    kind = signature(content[:HEAD])
    if kind is None:
        raise UnreadableImage(f"no image in a known format ({len(content)} bytes)")
    Image.init()
    if kind not in Image.OPEN:
        raise UnreadableImage(f"{kind}, which the installed version of Pillow cannot read")
    if kind == "TIFF":
        check_tiff(content)
    try:
        # Image.open would refuse images that are accepted here, and its bound is a setting of the whole process.
        image = Image.OPEN[kind][0](io.BytesIO(content), "")
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"{kind} of more than {MAX_PIXELS // 10**6} megapixels") from error
    except Exception as error:
        raise UnreadableImage(f"no {kind} that can be read ({_cause(error)})") from error
    return image, decoding_plan(image, kind, content)


@contextmanager
def _content(cell: Any, files: ImageFiles) -> Iterator[bytes]:
    """Give the encoded bytes of a cell. Large files are read one at a time, because their memory is not known yet."""
    if not _names_large_file(cell, files):
        yield read_bytes(cell, files)
        return
    with decoding.reserve(BUDGET):
        yield read_bytes(cell, files)


def _names_large_file(cell: Any, files: ImageFiles) -> bool:
    """Return whether a cell without bytes names a file of more than LARGE_FILE bytes."""
    if not isinstance(cell, Mapping) or cell.get("bytes") is not None or not isinstance(cell.get("path"), str):
        return False
    return bool(cell["path"]) and files.size(cell["path"]) > LARGE_FILE


def _memory(content: bytes) -> int:
    """Return the bytes of memory that decoding takes; 0 for bytes that cannot be decoded."""
    try:
        return opened(content)[1].memory
    except UnreadableImage:
        return 0


def _reduce_in_decoder(image: Any, reduction: int) -> None:
    """Set the decoder of a JPEG or JPEG 2000 file to a reduced size."""
    if image.format == "JPEG2000":
        image.reduce = int(math.log2(reduction))
        # Pillow rounds the reduced sides to the nearest number, but the decoder rounds them up. So the size is set.
        image._size = tuple(-(-side // reduction) * reduction for side in image.size)
    else:
        image.draft(None, (image.width // reduction, image.height // reduction))


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> how the image is turned or mirrored."""
_LARGEST_METADATA = 2**20
_METADATA = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how an image is turned to the orientation in its EXIF block; None if it stays as it is."""
    if any(len(image.info.get(name) or "") > _LARGEST_METADATA for name in _METADATA):
        return None
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # a damaged EXIF block does not make the pixels unreadable
        return None


def _cause(error: Exception) -> str:
    """Return the text of an exception in one line, without bytes of the file that Pillow quotes in it."""
    text = re.sub(r"""b?(['"]).*?\1""", "...", " ".join(str(error).split()))
    return text[:80] or innermost_cause(error, 80)
