"""Formats: the image formats that are read. Each is recognised by the first bytes of a file.

Owns the list, and the exception for an image that is not read. Opens no file and decodes nothing (image_files.py,
images.py).
"""

from __future__ import annotations

import re

HEAD = 4096
"""Number of bytes at the start of a file that decide its format."""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""The formats of Pillow that are read. EPS, PDF and WMF are never read, because their decoders run other programs."""

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif",
    ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm",
)  # fmt: skip
"""Suffixes in lower case that files in these formats have."""

_PREFIXES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II\x2a\x00", "TIFF"),
    (b"MM\x00\x2a", "TIFF"),
    (b"II\x2b\x00", "TIFF"),
    (b"MM\x00\x2b", "TIFF"),
    (b"II\x00\x2a", "TIFF"),
    (b"MM\x2a\x00", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a", "JPEG2000"),
)
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes of the second header of a BMP file."""
_GAP = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])"
"""White space or a comment in the text header of a PPM file."""
_PPM = re.compile(
    rb"(?:P[14]%(gap)b+[0-9]+%(gap)b+[0-9]+(?:%(gap)b|$)"
    rb"|(?:P[2356]|PyP|PyRGBA|PyCMYK|P0CMYK)%(gap)b+[0-9]+%(gap)b+[0-9]+%(gap)b+[0-9]+(?:%(gap)b|$)"
    rb"|Pf%(gap)b+[0-9]+%(gap)b+[0-9]+%(gap)b+[-+0-9.eE]+(?:%(gap)b|$))" % {b"gap": _GAP}
)
_AVIF_BRANDS = (b"avif", b"avis")
_CONTAINER_BRANDS = (b"mif1", b"msf1", b"miaf")
"""Brands of a container that may hold AVIF or HEIC. The list of compatible brands in the file decides which it is."""


class UnreadableImage(ValueError):
    """Raised for an image that cannot be read. The message is a short reason, which is stored with the row."""


def signature(head: bytes) -> str | None:
    """Return the format whose signature the first bytes of a file have; None for every other file.

    The name of a file is not used. A two-byte signature (BMP, PPM) is accepted only if a header of its format follows,
    because text files can start with the same letters.

    Args:
        head: the first HEAD bytes, or all bytes of a shorter file.

    Returns:
        An item of FORMATS; `JPEG` also for MPO.
    """
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp" and _is_avif(head):
        return "AVIF"
    return "PPM" if _PPM.match(head) else None


def _is_avif(head: bytes) -> bool:
    """Return whether the first box of a file names AVIF as its brand."""
    if head[8:12] in _AVIF_BRANDS:
        return True
    end = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = {head[start : start + 4] for start in range(16, end - 3, 4)}
    return head[8:12] in _CONTAINER_BRANDS and not compatible.isdisjoint(_AVIF_BRANDS)
