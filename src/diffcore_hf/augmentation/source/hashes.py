"""Hashes: the sha256 and the size of every image of the source.

Owns the single pass over the bytes of all images, and the file in the output folder with their hashes, so that a later
run does not read them again. Images are not decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diffcore_hf.core.folder import Folder, write_atomic
from diffcore_hf.core.images import NO_FILES, ImageFiles, UnreadableImage, read_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from diffcore_hf.augmentation.source.dataset import LoadedSource

ImageCell = dict[str, Any]
"""An image as `datasets` stores it: {"bytes": ..., "path": ...}."""

_NO_HASH = "-"
"""Mark in the stored file for an image without a hash."""


class ImageHash(NamedTuple):
    """Digest and size of the bytes of one image."""

    sha256: str | None
    """Hex digest; None if the row has no image, or bytes of no accepted format, or its file may not be read."""
    size: int
    """Number of bytes; 0 without a hash."""


def image_cells(split: Dataset, column: str, batch: int = 64) -> Iterator[list[ImageCell | None]]:
    """Yields the image column as it is stored, in order, in lists of `batch` cells."""
    table: pa.Table
    for table in split.select_columns([column]).with_format("arrow").iter(batch_size=batch):
        yield table[column].to_pylist()


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

    stored = _stored_hashes(split, folder) if folder else None
    if stored is not None:
        return stored
    hashes: list[ImageHash] = []
    # The bar is shown after three seconds, because most sources are read in less time.
    with tqdm(total=len(split), desc=f"reading {name}", unit="image", delay=3, leave=False) as bar:
        for cells in image_cells(split, column):
            hashes += [_hash(cell, files) for cell in cells]
            bar.update(len(cells))
    return hashes


def keep_hashes(source: LoadedSource, folder: Folder) -> None:
    """Stores the hashes of a source in the output folder, so that a restart does not read every image again."""
    for name, split in source.splits.items():
        path = _path(split, folder)
        if not path.is_file():
            hashes = zip(source.sha256[name], source.sizes[name], strict=True)
            write_atomic(path, "".join(f"{sha256 or _NO_HASH} {size}\n" for sha256, size in hashes).encode())


def _stored_hashes(split: Dataset, folder: Folder) -> list[ImageHash] | None:
    """Returns the hashes that an earlier run stored for these rows; None if the file does not have one for each row."""
    path = _path(split, folder)
    if not path.is_file():
        return None
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    if len(lines) != len(split):
        return None
    return [ImageHash(None if sha256 == _NO_HASH else sha256, int(size)) for sha256, size in lines]


def _path(split: Dataset, folder: Folder) -> Path:
    # The fingerprint of `datasets` changes if the files or the columns of the rows change.
    return folder.rows / f"{split._fingerprint}.txt"


def _hash(cell: ImageCell | None, files: ImageFiles) -> ImageHash:
    """Returns the hash of one cell. A row without bytes of an accepted format has no hash."""
    try:
        content = read_bytes(cell, files)
    except UnreadableImage:
        return ImageHash(None, 0)
    return ImageHash(hashlib.sha256(content).hexdigest(), len(content))
