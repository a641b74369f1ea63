"""File kinds: the kind of content of a file, decided from its first bytes.

Only text tables (CSV, TSV, JSON lines) are recognised by their suffix, because such files have no signature.
"""

from __future__ import annotations

import re
import zlib
from pathlib import PurePosixPath
from typing import Literal

from diffcore_hf.core.image_formats import signature

Kind = Literal["image", "table", "data", "archive"]
"""`image`: an accepted format. `table`: CSV, TSV, JSON lines. `data`: Parquet, Arrow, JSON. `archive`: zip or tar."""

HEAD_SIZE = 4096
"""Number of bytes from which a kind is decided."""

NO_IMAGE = "file that is not an image"
DOCUMENT = "text about the dataset"
NOT_ACCEPTED = "image format that is not read"
OTHER_ARCHIVE = "archive that is not read"

_DOCUMENT = re.compile(
    r"(readme|licen[cs]e|copying|citation|changelog|authors|notice)([-_ ][a-z0-9_ -]*)?(\.(md|txt|rst|cff|bib))?"
)
_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_TAR_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ZIP_HEADS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
"""The first bytes of a zip file."""
_DATA_HEADS = (b"PAR1", b"ARROW1")
_OTHER_ARCHIVES = ((b"Rar!", "RAR"), (b"7z\xbc\xaf\x27\x1c", "7z"))
_OTHER_IMAGES = (
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"8BPS", "PSD"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"DDS ", "DDS"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"SIMPLE  =", "FITS"),
    (b"gimp xcf", "XCF"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def kind_of(name: str, head: bytes) -> Kind | str:
    """Returns the kind of a file, or the reason why it is not read, as `reason: detail`.

    Args:
        name: name of the file; only the suffix of a table of text is used.
        head: its first HEAD_SIZE bytes, or all bytes of a shorter file.
    """
    if signature(head):
        return "image"
    lower = name.lower()
    if head.startswith(ZIP_HEADS) or _is_tar(head) or (lower.endswith(_TAR_SUFFIXES) and _is_compressed(head)):
        return "archive"
    if head.startswith(_DATA_HEADS) or (lower.endswith(".arrow") and head.startswith(b"\xff\xff\xff\xff")):
        return "data"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return f"{NOT_ACCEPTED}: HEIC. Convert it to JPEG or AVIF"
    for start, title in _OTHER_IMAGES:
        if head.startswith(start):
            return f"{NOT_ACCEPTED}: {title}. Convert it to JPEG or PNG"
    for start, title in _OTHER_ARCHIVES:
        if head.startswith(start):
            return f"{OTHER_ARCHIVE}: {title}. Unpack it first"
    if lower.endswith(_TABLE_SUFFIXES):
        return "table"
    if lower.endswith(".json") and head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return "data"
    if _DOCUMENT.fullmatch(lower):
        return DOCUMENT
    return f"{NO_IMAGE}: {PurePosixPath(lower).suffix or 'no suffix'}"


def _is_tar(head: bytes) -> bool:
    """Returns whether the bytes begin a tar file, which may be compressed with gzip."""
    if head[257:262] == b"ustar":
        return True
    if not head.startswith(b"\x1f\x8b"):
        return False
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 512)[257:262] == b"ustar"
    except zlib.error:
        return False


def _is_compressed(head: bytes) -> bool:
    return head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"))
