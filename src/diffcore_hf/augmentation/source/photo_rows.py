"""Photo rows: the rows of photos in a folder as a dataset whose image cells contain paths, not bytes.

Owns the columns: those of imagefolder for class folders, and those of the table for a table. The two chosen columns of
a table get the names that the recipe has for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.source.files import SourceFile
from diffcore_hf.augmentation.source.hash_cache import NO_PHOTO, Photo
from diffcore_hf.augmentation.source.layouts import FolderLayout, ordered_splits
from diffcore_hf.augmentation.source.tables import PhotoTable
from diffcore_hf.config.augment import SourceConfig

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features


@dataclass(frozen=True)
class PhotoRows:
    """The rows of one split."""

    photos: tuple[Photo, ...]
    columns: Mapping[str, Any]
    """Arrow arrays by name, in order; None in place of the images."""
    features: Features


def folder_rows(
    layout: FolderLayout, config: SourceConfig, root: str, files: Mapping[str, SourceFile]
) -> dict[str, PhotoRows]:
    """Returns the rows of class folders, with the columns of imagefolder.

    Args:
        layout: the split and the class of each photo.
        config: section `source` of the recipe; it names the two columns.
        root: absolute path of the folder.
        files: the files of the folder by their path in it.
    """
    import pyarrow as pa
    from datasets import ClassLabel, Features, Image

    index = {name: number for number, name in enumerate(layout.classes)}
    features = Features({config.image: Image(), config.label: ClassLabel(names=list(layout.classes))})
    splits = {}
    for split, rows in layout.splits.items():
        photos = tuple((os.path.join(root, row.path), files[row.path]) for row in rows)
        labels = pa.array([index[row.class_name] for row in rows], pa.int64())
        splits[split] = PhotoRows(photos, {config.image: None, config.label: labels}, features)
    return splits


def table_rows(
    tables: Sequence[PhotoTable], config: SourceConfig, root: str, files: Mapping[str, SourceFile]
) -> dict[str, PhotoRows]:
    """Returns the rows of tables with equal columns; see `folder_rows` for the other arguments."""
    import pyarrow as pa
    from datasets import Features, Image

    merged = pa.concat_tables([table.columns for table in tables])
    paths = list(chain.from_iterable(table.paths for table in tables))
    photos = [NO_PHOTO if path is None else (os.path.join(root, path), files[path]) for path in paths]
    splits_of_rows = list(chain.from_iterable(table.splits for table in tables))
    columns = _columns(merged, tables[0], config)
    types = pa.table({name: array for name, array in columns.items() if array is not None}).schema
    known = Features.from_arrow_schema(types)
    features = Features({name: Image() if array is None else known[name] for name, array in columns.items()})
    splits = {}
    for split in ordered_splits(splits_of_rows):
        rows = [row for row, name in enumerate(splits_of_rows) if name == split]
        part = {name: None if array is None else array.take(pa.array(rows)) for name, array in columns.items()}
        splits[split] = PhotoRows(tuple(photos[row] for row in rows), part, features)
    return splits


def _columns(merged: pa.Table, table: PhotoTable, config: SourceConfig) -> dict[str, Any]:
    """Returns the columns under the names of the recipe; another column of such a name gets a suffix."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for title in merged.column_names:
        array = merged[title].combine_chunks()
        if pa.types.is_null(array.type):
            array = array.cast(pa.string())
        if title == table.file_column:
            columns[config.image] = None
        elif title == table.class_column:
            columns[config.label] = array
        else:
            columns[f"{title}_column" if title in (config.image, config.label) else title] = array
    return columns


def dataset_of(rows: PhotoRows, split: str) -> Dataset:
    """Returns a split in memory. Its fingerprint follows from its columns and the states of the files."""
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo, NamedSplit
    from datasets.fingerprint import Hasher
    from datasets.table import InMemoryTable

    paths = pa.array([path for path, _ in rows.photos], pa.string())
    nothing = pa.nulls(len(paths), pa.binary())
    cells = pa.StructArray.from_arrays([nothing, paths], ["bytes", "path"], mask=paths.is_null())
    arrays = {name: cells if array is None else array for name, array in rows.columns.items()}
    table = InMemoryTable(pa.table(arrays).cast(rows.features.arrow_schema))
    values = [array.to_pylist() for array in rows.columns.values() if array is not None]
    fingerprint = Hasher.hash(repr((split, rows.features, rows.photos, values)).encode("utf-8", "surrogateescape"))
    info = DatasetInfo(features=rows.features)
    return Dataset(table, info=info, split=NamedSplit(split), fingerprint=fingerprint)
