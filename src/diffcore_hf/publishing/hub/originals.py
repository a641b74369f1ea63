"""Originals: images of the source put back into a dataset that was published without them.

Owns the joining. Rows are matched by what config `references` recorded about them, the hash of the image's very bytes:
whatever order, revision or place the source comes in, an image is right or it is not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.images import UnreadableImage, read_bytes

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def join_originals(
    augmented: DatasetDict,
    references: Dataset,
    source: DatasetDict | Dataset,
    *,
    image: str = "image",
    prefix: str = "",
) -> DatasetDict:
    """The dataset with its image column filled.

    Args:
        augmented: config `default` of a dataset that was published without originals.
        references: its config `references`.
        source: where the images are; its splits may be fewer than the dataset's.
        image: the column of the images, in both.
        prefix: of our columns, where the dataset was made with `columns.prefix`.

    Returns:
        The splits of `augmented` for which the source has images, every image byte for byte the source's.

    Raises:
        ValueError: no such column, or an image that the source does not have as it was.
    """
    from datasets import DatasetDict, Image, concatenate_datasets

    parts = source.values() if hasattr(source, "values") else [source]
    parts = [part.cast_column(image, Image(decode=False)) for part in map(_with(image), parts)]
    whole = concatenate_datasets([part.select_columns([image]) for part in parts])
    place = {sha: number for number, sha in enumerate(_hashes(whole, image))}
    wanted = dict(zip(references["row_id"][:], references["source_sha256"][:], strict=True))
    joined = {}
    for name, rows in augmented.items():
        hashes = [wanted.get(row_id) for row_id in rows[prefix + "row_id"][:]]
        missing = [row for row, sha in enumerate(hashes) if sha is not None and sha not in place]
        if len(missing) == len([sha for sha in hashes if sha is not None]) and missing:
            continue  # a split that this source does not have
        if missing:
            row_id = rows[prefix + "row_id"][missing[0]]
            raise ValueError(
                f"{len(missing)} of {len(rows)} images of split {name!r} are not in the source as they were (the first "
                f"is {row_id}). Give the source at the revision that the card names"
            )
        joined[name] = _filled(rows, whole, image, [None if sha is None else place[sha] for sha in hashes])
    if not joined:
        raise ValueError("the source has none of this dataset's images. Give the dataset that its card names")
    return DatasetDict(joined)


def _with(image: str) -> Any:
    def checked(part: Dataset) -> Dataset:
        if image not in part.column_names:
            raise ValueError(f"the source has no column {image!r}; its columns: {', '.join(part.column_names)}")
        return part

    return checked


def _hashes(rows: Dataset, image: str) -> Iterator[str | None]:
    for batch in rows.with_format("arrow").iter(batch_size=64):
        for cell in batch[image].to_pylist():
            try:
                yield hashlib.sha256(read_bytes(cell)).hexdigest()
            except UnreadableImage:
                yield None


def _filled(rows: Dataset, whole: Dataset, image: str, places: list[int | None]) -> Dataset:
    """The rows with the images at those places, in the order of their columns."""
    from datasets import Image, concatenate_datasets

    empty = [place for place, found in enumerate(places) if found is None]
    images = whole.select([found or 0 for found in places])
    if empty:
        images = images.map(
            lambda cell, place: {image: None if places[place] is None else cell},
            input_columns=image, with_indices=True, features=images.features,
        )  # fmt: skip
    names = rows.column_names
    joined = concatenate_datasets([rows.remove_columns(image), images], axis=1).select_columns(names)
    return joined.cast_column(image, Image())
