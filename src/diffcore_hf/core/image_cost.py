"""Cost: which images are decoded, at which size, and how much memory this takes.

The sizes are read from the header of a file, before anything is decoded. The numbers of bytes per pixel were measured
with Pillow 13 (peak memory of a process that decodes one image).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from PIL import ImageFile

from diffcore_hf.core.image_formats import UnreadableImage
from diffcore_hf.core.image_memory import BUDGET

MAX_PIXELS = 200_000_000
FULL_PIXELS = 64_000_000
"""Images with more pixels are decoded at reduced size."""
REDUCTION = 4
"""Factor by which width and height of such an image are reduced."""
MAX_ASPECT = 50
"""Largest ratio of the longer to the shorter side."""
MAX_SCANS = 100
"""Largest number of scans in a progressive JPEG file. Each scan visits every pixel. Usual files have about 10 scans."""
SLOW_PIXELS = 8_000_000
"""Largest number of pixels of an image that Pillow decodes in Python. One million pixels take about a second."""
MAX_TAG_VALUES = 2**18
"""Largest number of values of one entry in the directory of a TIFF file."""

_JPEG2000_BYTES = 6
"""Bytes for each value of a JPEG 2000 tile while it is decoded."""
_JPEG2000_FULL_PIXELS = 36_000_000
"""JPEG 2000 files of one tile with more pixels are decoded at reduced size, because the decoder needs much memory."""
_WEBP_BYTES = 13
_AVIF_BYTES, _AVIF_DEEP_BYTES = 9, 18
_SLOW_BYTES = 10
_YCBCR = 6
"""Value of the TIFF tag 262 (PhotometricInterpretation) for the colour space of JPEG."""
_OVERHEAD = 16_000_000
"""Bytes for the buffers of a decoder and for one strip of a conversion."""


@dataclass(frozen=True)
class DecodingPlan:
    """The way in which an image is decoded."""

    reduction: int
    """Factor by which width and height are reduced; 1 for the full size."""
    in_decoder: bool
    """Whether the decoder itself reduces the image; otherwise it is reduced after it was decoded."""
    memory: int
    """Number of bytes that decoding and conversion take at their peak, without the encoded bytes."""


def check_size(width: int, height: int) -> None:
    """Raise UnreadableImage for an image with too many pixels or an extreme shape."""
    if width < 1 or height < 1:
        raise UnreadableImage(f"{width} x {height}, no pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width} x {height}, more than {MAX_PIXELS // 10**6} megapixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImage(f"{width} x {height}, an aspect ratio above 1:{MAX_ASPECT}")


def decoding_plan(image: ImageFile.ImageFile, kind: str, content: bytes) -> DecodingPlan:
    """Return how an opened image is decoded.

    Args:
        image: the image as Pillow opened it; only its header was read.
        kind: its format, from `signature`.
        content: the encoded bytes.

    Raises:
        UnreadableImage: the size, the shape, or the memory or time of decoding are above the bounds.
    """
    check_size(image.width, image.height)
    pixels = image.width * image.height
    reduction = REDUCTION if pixels > FULL_PIXELS else 1
    in_decoder = kind == "JPEG"
    extra: float = _SLOW_BYTES * pixels if _is_slow(image, pixels) else 0
    if kind == "JPEG":
        extra = _jpeg_coefficients(content) * pixels
    elif kind == "JPEG2000":
        stream = _jpeg2000(content)
        if stream.tile_pixels(pixels) > _JPEG2000_FULL_PIXELS:
            reduction = REDUCTION
        in_decoder = reduction > 1 and stream.levels >= math.log2(REDUCTION)
        shrunk = reduction**2 if in_decoder else 1
        extra = _JPEG2000_BYTES * stream.components * stream.tile_pixels(pixels) / shrunk
    elif kind == "TIFF":
        extra = _tiff_strip(image)
    elif kind == "WEBP":
        extra = _WEBP_BYTES * pixels
    elif kind == "AVIF":
        extra = (_AVIF_DEEP_BYTES if _is_deep_avif(content) else _AVIF_BYTES) * pixels
    stored = _bytes_per_pixel(image.mode) * pixels / (reduction**2 if in_decoder else 1)
    result = pixels / reduction**2
    converted = 4 * result if reduction > 1 or image.mode != "RGB" else 0
    # The largest of three steps: decoding, conversion (the memory of the decoder is then free again), and the copy of
    # the result from an image to an array.
    memory = int(max(stored + extra, stored + converted, 7 * result)) + _OVERHEAD
    if memory + len(content) > BUDGET:
        needed, most = (memory + len(content)) // 10**6, BUDGET // 10**6
        raise UnreadableImage(
            f"{image.width} x {image.height} {kind}: takes {needed} MB to decode, more than {most} MB"
        )
    return DecodingPlan(reduction, in_decoder, memory)


def check_tiff(content: bytes) -> None:
    """Raise UnreadableImage for a TIFF file whose directory would take much memory before the image is opened."""
    for values in _tiff_counts(content):
        if values > MAX_TAG_VALUES:
            raise UnreadableImage(f"TIFF with {values} values in one entry, more than {MAX_TAG_VALUES}")


def _is_slow(image: ImageFile.ImageFile, pixels: int) -> bool:
    """Return whether Pillow decodes an image in Python.

    Raises:
        UnreadableImage: such an image has more than SLOW_PIXELS pixels.
    """
    slow = any(tile[0] in ("ppm", "ppm_plain", "bmp_rle") for tile in image.tile[:1])
    if slow and pixels > SLOW_PIXELS:
        raise UnreadableImage(
            f"{image.width} x {image.height} {image.format} of a kind that is decoded slowly, more than "
            f"{SLOW_PIXELS // 10**6} megapixels"
        )
    return slow


def _bytes_per_pixel(mode: str) -> int:
    """Return the bytes that Pillow stores for each pixel of a mode."""
    if mode in ("1", "L", "P"):
        return 1
    return 2 if mode.startswith("I;16") else 4


def _jpeg_coefficients(content: bytes) -> float:
    """Return the bytes per pixel of the coefficients that the JPEG decoder keeps, 0 for a file of a single scan.

    A decoder of several scans keeps all coefficients of the full size, two bytes each.

    Raises:
        UnreadableImage: the file has more than MAX_SCANS scans.
    """
    scans = content.count(b"\xff\xda")
    if scans > MAX_SCANS:
        raise UnreadableImage(f"JPEG with {scans} scans, more than {MAX_SCANS}")
    offset, size = 2, len(content)
    sampling: list[int] = []
    progressive = False
    while offset + 4 <= size:
        if content[offset] != 0xFF:
            offset += 1
            continue
        marker = content[offset + 1]
        if marker == 0xFF:
            offset += 1
            continue
        if marker in (0x01, 0xD8) or 0xD0 <= marker <= 0xD7:
            offset += 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
            count = content[offset + 9] if offset + 9 < size else 0
            sampling = list(content[offset + 11 : offset + 10 + 3 * count : 3])
        if marker == 0xDA:
            single = not progressive and offset + 4 < size and content[offset + 4] >= len(sampling)
            return 0.0 if single else _coefficient_bytes(sampling)
        offset += 2 + max(2, int.from_bytes(content[offset + 2 : offset + 4], "big"))
    return _coefficient_bytes(sampling)


def _coefficient_bytes(sampling: list[int]) -> float:
    """Return the bytes per pixel of the coefficients, from the sampling factors of the components."""
    areas = [(factor >> 4) * (factor & 15) for factor in sampling]
    if not areas or 0 in areas:
        return 8.0
    widest = max(factor >> 4 for factor in sampling) * max(factor & 15 for factor in sampling)
    return 2.0 * sum(areas) / widest


@dataclass(frozen=True)
class _Jpeg2000:
    """Facts in the header of a JPEG 2000 codestream."""

    components: int
    levels: int
    """Number of times that the image can be halved by the decoder."""
    tile: int
    """Pixels of a tile."""

    def tile_pixels(self, pixels: int) -> int:
        return min(self.tile, pixels)


def _jpeg2000(content: bytes) -> _Jpeg2000:
    """Return the facts in the header of a JPEG 2000 file; if it is damaged, the facts with the highest cost."""
    start = content.find(b"\xff\x4f\xff\x51")
    try:
        tile_width, tile_height = struct.unpack_from(">II", content, start + 24)
        (components,) = struct.unpack_from(">H", content, start + 40)
        style = content.index(b"\xff\x52", start)
        levels = content[style + 9]
    except (struct.error, IndexError, ValueError):
        return _Jpeg2000(4, 0, MAX_PIXELS)
    return _Jpeg2000(max(1, min(components, 4)), levels, max(1, tile_width) * max(1, tile_height))


def _tiff_strip(image: ImageFile.ImageFile) -> int:
    """Return the bytes of the largest strip or tile of a compressed TIFF file, which is decoded at once."""
    tags = getattr(image, "tag_v2", {})
    if all(tile[0] == "raw" for tile in image.tile):
        return 0
    width, height = tags.get(322), tags.get(323)
    if not (isinstance(width, int) and isinstance(height, int)):
        rows = tags.get(278)
        width, height = image.width, min(rows, image.height) if isinstance(rows, int) else image.height
    depth = max((8, *(bits for bits in _numbers(tags.get(258)) if bits <= 64))) / 8
    samples = max(_numbers(tags.get(277)))
    if tags.get(262) == _YCBCR:  # Pillow decodes such images as RGBA
        samples, depth = 4, 1
    return int(width * height * depth * min(samples, 8))


def _numbers(value: object) -> tuple[int, ...]:
    """Return the whole numbers of a tag as a tuple."""
    values = value if isinstance(value, tuple) else (value,)
    return tuple(item for item in values if isinstance(item, int)) or (1,)


def _tiff_counts(content: bytes) -> list[int]:
    """Return the number of values of each numeric entry in the first directory of a TIFF file."""
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"\x2b\x00", b"\x00\x2b")
    head, entry, size = ("Q", "HHQ", 20) if big else ("I", "HHI", 12)
    try:
        (start,) = struct.unpack_from(order + head, content, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, start)
        first = start + (8 if big else 2)
        if count > len(content) // size:
            return []  # the directory is cut off, which Pillow reports when it opens the image
        if count > MAX_TAG_VALUES:
            return [count]
        entries = [struct.unpack_from(order + entry, content, first + size * index) for index in range(count)]
    except (struct.error, OverflowError):
        return []
    texts = (1, 2, 6, 7)
    return [values for _, kind, values in entries if kind not in texts]


def _is_deep_avif(content: bytes) -> bool:
    """Return whether an AVIF file has more than 8 bits per channel, or does not state the number of bits."""
    start = content.find(b"av1C")
    return start < 0 or len(content) < start + 7 or bool(content[start + 6] & 0x40)
