"""Images of a published dataset: reads those of some rows, without reading the other images.

Owns the search for a row by its id. Does not decode images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

from diffcore_hf.core.schema import UnitKey, prefix_of
from diffcore_hf.publishing.audit.column_types import check_column_types
from diffcore_hf.publishing.audit.shards import Shards, image_bytes
from diffcore_hf.publishing.hub.parquet import read_groups

Key = TypeVar("Key")
_MARKS = ("is_generated", "is_mixed")
"""Columns that mark the rows that are not real images, in the layouts `rows` and `mixed`."""


def kept_images(folder: Path, shards: Shards, wanted: Collection[UnitKey]) -> Iterator[tuple[UnitKey, bytes]]:
    """Yield the key and the encoded image of each wanted kept image; an image that is not stored is left out."""
    keys = set(wanted)
    for path in shards.paths("attempts"):
        start = 0
        for table in shards.read(path, ["row_id", "copy", "reason"]):
            check_column_types(table, "attempts")
            found = {}
            for row, (row_id, copy, reason) in enumerate(zip(*(c.to_pylist() for c in table.columns), strict=True)):
                if reason == "kept" and (row_id, copy) in keys:
                    found[start + row] = (row_id, copy)
            yield from _images(folder, path, found, "image")
            start += len(table)


def real_images(folder: Path, shards: Shards, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the row id and the encoded image of each wanted real image; an image that is not stored is left out."""
    ids = set(wanted)
    for path in shards.paths("default"):
        names = shards.names(path)
        row_id = "row_id" if any(mark in names for mark in _MARKS) else f"{prefix_of(names)}row_id"
        marks = [mark for mark in _MARKS if mark in names]
        if row_id not in names:
            continue
        start = 0
        for table in shards.read(path, [row_id, *marks]):
            check_column_types(table.select([row_id]).rename_columns(["row_id"]), "default")
            is_generated = table[marks[0]].to_pylist() if marks else [False] * len(table)
            found = {
                start + row: name
                for row, name in enumerate(table[row_id].to_pylist())
                if name in ids and not is_generated[row]
            }
            ids -= set(found.values())
            yield from _images(folder, path, found, shards.image)
            start += len(table)


def _images(folder: Path, path: str, wanted: dict[int, Key], column: str) -> Iterator[tuple[Key, bytes]]:
    """Yield the images of some rows of a shard. Only the row groups of these rows are read."""
    for start, table in read_groups(folder / path, path, column, wanted):
        contents = image_bytes(table, column)
        for row, content in enumerate(contents, start):
            if row in wanted and content is not None:
                yield wanted[row], content
