"""Hashes: the sha256, the size and the header of every image of the source.

Owns the single pass over the bytes of all images, and the file in the output folder with their hashes, so that a later
run does not read them again. No pixels are decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diffcore_hf.core.folder import Folder, write_atomic
from diffcore_hf.core.image_headers import ImageHeader, read_header
from diffcore_hf.core.images import NO_FILES, ImageFiles, UnreadableImage, read_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from diffcore_hf.augmentation.source.dataset import LoadedSource

ImageCell = dict[str, Any]
"""An image as `datasets` stores it: {"bytes": ..., "path": ...}."""

_CHECK = "sha256 of the lines below: "
"""Start of the first line of the stored file."""
_NO_HASH = "-"
"""Mark in the stored file for an image without a hash."""


class ImageHash(NamedTuple):
    """Digest, size and header of the bytes of one image."""

    sha256: str | None
    """Hex digest; None if the row has no image, or bytes of no accepted format, or its file may not be read."""
    size: int
    """Number of bytes; 0 without a hash."""
    reason: str | None = None
    """The reason why there is no hash; None if there is one."""
    header: ImageHeader | str = ""
    """What the header of the file states, or the reason why the image will not be decoded; "" without a hash."""


def hash_of(content: bytes) -> ImageHash:
    """Returns the hash of the bytes of an image."""
    header: ImageHeader | str
    try:
        header = read_header(content)
    except UnreadableImage as error:
        header = str(error)
    return ImageHash(hashlib.sha256(content).hexdigest(), len(content), header=header)


_FAULT = "fault: "
"""Start of a stored header that is a reason."""


def header_text(header: ImageHeader | str) -> str:
    """Returns a header as one line of ASCII text."""
    if isinstance(header, str):
        return _FAULT + " ".join(header.encode("ascii", "backslashreplace").decode().split())
    return f"{header.format} {header.width} {header.height} {header.mode}"


def parse_header(text: str) -> ImageHeader | str:
    """Returns the header that `header_text` wrote.

    Raises:
        ValueError: the text is damaged.
    """
    if text.startswith(_FAULT):
        return text.removeprefix(_FAULT)
    kind, width, height, mode = text.split(" ")
    return ImageHeader(kind, int(width), int(height), mode)


def image_cells(split: Dataset, column: str) -> Iterator[ImageCell | None]:
    """Yields the image column as it is stored, cell by cell. The bytes of many images may not fit into memory."""
    table: pa.Table
    for table in split.select_columns([column]).with_format("arrow").iter(batch_size=64):
        for cell in table[column]:
            yield cell.as_py()


def hash_images(
    split: Dataset, name: str, column: str, folder: Folder | None, files: ImageFiles = NO_FILES
) -> list[ImageHash]:
    """Returns the hash of every image of a split.

    Args:
        split: the split; its image column is not decoded.
        name: name of the split, for the progress bar.
        column: name of the image column.
        folder: the output folder. If an earlier run stored hashes of the same rows there, they are returned.
        files: the files that an image cell may name.
    """
    from tqdm.auto import tqdm

    stored = _stored_hashes(split, folder, files) if folder else None
    if stored is not None:
        return stored
    hashes: list[ImageHash] = []
    # The bar is shown after three seconds, because most sources are read in less time.
    with tqdm(total=len(split), desc=f"reading {name}", unit="image", delay=3, leave=False) as bar:
        for cell in image_cells(split, column):
            hashes.append(_hash(cell, files))
            bar.update()
    return hashes


def keep_hashes(source: LoadedSource, folder: Folder) -> None:
    """Stores the hashes of a source in the output folder, so that a restart does not read every image again.

    The hashes of photos in a local folder are kept elsewhere (hash_cache.py).
    """
    if source.keeps_hashes:
        return
    for name, split in source.splits.items():
        path = _path(split, folder, source.files)
        if not path.is_file():
            reasons = source.unreadable[name]
            columns = zip(source.sha256[name], source.sizes[name], source.headers[name], strict=True)
            lines = [
                f"{sha256} {size} {header_text(header)}\n" if sha256 else f"{_NO_HASH} {size} {reasons[row]}\n"
                for row, (sha256, size, header) in enumerate(columns)
            ]
            body = "".join(lines)
            write_atomic(path, f"{_check_line(body)}{body}".encode())


def _stored_hashes(split: Dataset, folder: Folder, files: ImageFiles) -> list[ImageHash] | None:
    """Returns the hashes that an earlier run stored for these rows; None if the file does not have one for each row."""
    path = _path(split, folder, files)
    if not path.is_file():
        return None
    try:
        check, end, body = path.read_text().partition("\n")
        if check.startswith(_CHECK) and check + end != _check_line(body):
            return None
        # A file of an earlier version has no first line with a hash.
        hashes = [_parse(line) for line in (body if check.startswith(_CHECK) else check + end + body).splitlines()]
    except (OSError, ValueError):  # a damaged file: the images are read again
        return None
    return hashes if len(hashes) == len(split) else None


def _check_line(body: str) -> str:
    """Returns the first line of the stored file, which contains a hash of the other lines."""
    return f"{_CHECK}{hashlib.sha256(body.encode()).hexdigest()}\n"


def _parse(line: str) -> ImageHash:
    """Returns the hash of one line of the stored file."""
    sha256, size, rest = line.split(" ", 2)
    if sha256 == _NO_HASH:
        return ImageHash(None, int(size), rest)
    return ImageHash(sha256, int(size), header=parse_header(rest))


def _path(split: Dataset, folder: Folder, files: ImageFiles) -> Path:
    """Returns the file with the hashes of a split.

    The fingerprint of `datasets` changes if the files or the columns of the rows change. Other roots may make other
    images readable.
    """
    roots = hashlib.sha256("\0".join(files.roots).encode(errors="surrogateescape")).hexdigest()[:16]
    return folder.rows / f"{split._fingerprint}-{roots}-headers.txt"


def _hash(cell: ImageCell | None, files: ImageFiles) -> ImageHash:
    """Returns the hash of one cell. A row without bytes of an accepted format has no hash."""
    try:
        content = read_bytes(cell, files)
    except UnreadableImage as error:
        return ImageHash(None, 0, str(error))
    return hash_of(content)
