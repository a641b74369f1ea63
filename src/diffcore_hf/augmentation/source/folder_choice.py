"""Folder choice: decides how a local folder is read, from its list of files.

The first rule that fits is used:

1. `source.table`, `source.layout`, `source.name` or `source.data_files` says how the folder is read.
2. A folder that describes its files (a card with `configs`, a manifest, a saved dataset) is read by `datasets`.
3. In a folder without photos, data files are read by `datasets`, and archives are unpacked.
4. A table with a name of imagefolder (such as metadata.csv) is read if it has the label column, or if the folders
   show fewer than two classes.
5. Folders of two or more classes are read, unless there are more data files than photos.
6. Parquet files are read or, if there are none, Arrow files.
7. If there is only one table whose rows are photos with classes, it is read.
8. Folders of one class are read.

Files that the choice does not read are named by folder.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from diffcore_hf.augmentation.source.archives import is_webdataset
from diffcore_hf.augmentation.source.files import LINK_OUT, Listing, SourceFile, UnreadFile
from diffcore_hf.augmentation.source.layouts import FolderLayout, Misfit, folder_layout
from diffcore_hf.augmentation.source.split_names import split_of
from diffcore_hf.augmentation.source.tables import METADATA, SUFFIXES, PhotoNames, PhotoTable, read_photo_table
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.data_files import is_card
from diffcore_hf.core.errors import UserError

DESCRIPTIONS = ("diffcore.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Names of the files by which a folder states how its files are read."""


class DataFiles(NamedTuple):
    """The folder is read by `datasets`."""

    files: tuple[str, ...] = ()
    """Paths of the files to read. Empty: `datasets` chooses the files; if there are photos, it chooses the photos."""


class Archives(NamedTuple):
    """The folder holds archives and no photos."""

    archives: tuple[SourceFile, ...]


class Tables(NamedTuple):
    """The rows are those of tables with equal columns."""

    tables: tuple[PhotoTable, ...]


Choice = FolderLayout | DataFiles | Archives | Tables


def choose(config: SourceConfig, listing: Listing, base: Path) -> Choice:
    """Returns how a folder is read.

    Args:
        config: section `source` of the recipe.
        listing: the files of the folder.
        base: the folder that `source.path` names; the table may be there even if the photos are in an archive.

    Raises:
        UserError: nothing fits, or the wanted layout or table does not fit.
    """
    images = [file.path for file in listing.of_kind("image")]
    archives = tuple(listing.of_kind("archive"))
    if config.table is not None:
        _check_table_layout(config)
        if not images and archives:
            return Archives(archives)
        return _named_table(config, listing, base, images)
    if config.layout == "files" or config.name or config.data_files:
        return DataFiles()
    if config.layout == "auto" and _describes_itself(base):
        return DataFiles()
    if not images:
        return _without_photos(config, listing, archives)
    if config.layout == "table":
        return _only_table(config, listing, images)
    layout = folder_layout(images, config.layout)
    if config.layout != "auto":
        if isinstance(layout, Misfit):
            raise UserError(
                f"source.layout is {config.layout!r}, which does not fit {config.path}: it holds {layout.found}. "
                "Use --source.layout auto"
            )
        return layout
    return _recognised(config, listing, images, layout)


def _recognised(config: SourceConfig, listing: Listing, images: list[str], layout: FolderLayout | Misfit) -> Choice:
    """Returns the choice for a folder with photos under layout `auto`: rules 4 to 8."""
    classes = 0 if isinstance(layout, Misfit) else len(layout.classes)
    metadata = _metadata(config, listing, images)
    if metadata and (classes < 2 or config.label in metadata.tables[0].columns.column_names):
        return metadata
    data = [file for file in listing.of_kind("data") if not file.path.lower().endswith(".json")]
    if not isinstance(layout, Misfit) and classes > 1 and len(data) <= len(images):
        return layout
    if data:
        parquet = [file for file in data if file.path.lower().endswith(".parquet")]
        return DataFiles(tuple(file.path for file in parquet or data))
    tables = [file for file in listing.of_kind("table") if "/" not in file.path or classes == 0]
    found = {file.path: _read(config, listing, file.path, images) for file in tables}
    fitting = [table for table in found.values() if isinstance(table, PhotoTable)]
    if len(fitting) == 1:
        return Tables((fitting[0],))
    if len(fitting) > 1:
        names = ", ".join(table.name for table in fitting)
        raise UserError(
            f"{config.path} holds several tables of photos ({names}). Use e.g. --source.table {fitting[0].name}"
        )
    if not isinstance(layout, Misfit):
        return layout
    faults = "".join(f"; {path} is not a table of them: {fault}" for path, fault in found.items())
    raise UserError(
        f"source.path {config.path} holds {layout.found}{faults}" + ("" if faults else f". {layout.remedy}")
    )


def _describes_itself(folder: Path) -> bool:
    """Returns whether a file of the folder states how its files are read."""
    if any((folder / name).is_file() for name in DESCRIPTIONS):
        return True
    card = folder / "README.md"
    if not is_card(card):
        return False
    with card.open(encoding="utf-8", errors="replace") as file:
        header = file.read(2**20).partition("\n---")[0]
    return header.startswith("---") and any(line.startswith("configs:") for line in header.splitlines())


def _without_photos(config: SourceConfig, listing: Listing, archives: tuple[SourceFile, ...]) -> Choice:
    data = [*listing.of_kind("data"), *listing.of_kind("table")]
    if archives and not any(file.path.endswith((".parquet", ".arrow")) for file in data):
        tars = [file for file in archives if not file.path.lower().endswith(".zip")]
        shards = len(tars) == len(archives) and is_webdataset(Path(listing.root) / archives[0].path)
        return DataFiles() if shards else Archives(archives)
    if data and config.layout == "auto":
        return DataFiles()
    raise UserError(f"source.path {config.path} holds no photos{_left_out(listing)}. Use another --source.path")


def _left_out(listing: Listing) -> str:
    """Returns the reasons for which the files of a folder are not read, for a message."""
    reasons: dict[str, list[UnreadFile]] = {}
    for file in listing.unread:
        reasons.setdefault(file.reason, []).append(file)
    parts = []
    for reason, files in sorted(reasons.items()):
        hint = "--source.follow_links outside reads it" if reason == LINK_OUT else files[0].detail
        parts.append(f"; {len(files)} x {reason}, e.g. {files[0].path!r}" + (f" ({hint})" if hint else ""))
    return "".join(parts)


def _check_table_layout(config: SourceConfig) -> None:
    if config.layout not in ("auto", "table"):
        raise UserError(
            f"source.layout is {config.layout!r}, so source.table {config.table} would not be read. "
            "Use --source.layout table"
        )


def _named_table(config: SourceConfig, listing: Listing, base: Path, images: list[str]) -> Tables:
    """Returns the table that `source.table` names: a file below the source folder, or any other path."""
    assert config.table is not None
    location = next((path for path in (base / config.table, Path(config.table)) if path.is_file()), None)
    if location is None or location.suffix.lower() not in SUFFIXES:
        tables = [file.path for file in listing.files if file.path.lower().endswith(SUFFIXES)][:5]
        there = f"the tables in {config.path}: {', '.join(tables) or 'none'}"
        fault = "does not exist" if location is None else f"is none of {', '.join(SUFFIXES)}"
        raise UserError(f"source.table {config.table} {fault}; {there}. Use --source.table")
    below = Path(os.path.normpath(location)).is_relative_to(os.path.normpath(base))
    inside = Path(os.path.realpath(location)).is_relative_to(os.path.realpath(base))
    if below and not inside and config.follow_links == "inside":
        raise UserError(
            f"source.table {config.table} is a {LINK_OUT}, with target {os.path.realpath(location)}. "
            "Use --source.follow_links outside"
        )
    table = _read_at(config, location, config.table, images)
    if isinstance(table, str):
        raise UserError(f"source.table {config.table} does not fit {config.path}: {table}")
    return Tables((table,))


def _only_table(config: SourceConfig, listing: Listing, images: list[str]) -> Tables:
    """Returns the tables of layout `table` without `source.table`."""
    if metadata := _metadata(config, listing, images):
        return metadata
    names = [file.path for file in listing.files if file.path.lower().endswith(SUFFIXES)]
    found = {name: _read(config, listing, name, images) for name in names}
    fitting = [table for table in found.values() if isinstance(table, PhotoTable)]
    if len(fitting) != 1:
        faults = "; ".join(f"{name}: {fault if isinstance(fault, str) else 'fits'}" for name, fault in found.items())
        raise UserError(
            f"source.layout is 'table', but {config.path} holds {len(fitting)} tables of its photos"
            f"{f' ({faults})' if faults else ''}. Use --source.table FILE, or --source.layout auto for class folders"
        )
    return Tables((fitting[0],))


def _metadata(config: SourceConfig, listing: Listing, images: list[str]) -> Tables | None:
    """Returns the tables with the names of imagefolder, if all of them fit and have equal columns."""
    names = [file.path for file in listing.files if os.path.basename(file.path) in METADATA]
    tables = [_read(config, listing, name, images) for name in names]
    fitting = tuple(_in_split_of_folder(table) for table in tables if isinstance(table, PhotoTable))
    if not fitting or len(fitting) < len(tables):
        return None
    schemas: Sequence[object] = [table.columns.schema for table in fitting]
    return Tables(fitting) if all(schema == schemas[0] for schema in schemas) else None


def _in_split_of_folder(table: PhotoTable) -> PhotoTable:
    """Returns a table whose rows are in the split that a folder on the way to it means, if there is one."""
    meanings = [split_of(step) for step in table.name.split("/")[:-1]]
    split = next((meaning.split for meaning in meanings if meaning), None)
    return replace(table, splits=(split,) * len(table.splits)) if split else table


def _read(config: SourceConfig, listing: Listing, path: str, images: list[str]) -> PhotoTable | str:
    """Returns a table of the folder that the recipe does not name, or the reason why the file is not a table."""
    try:
        return _read_at(config, Path(listing.root) / path, path, images)
    except UserError as error:
        return str(error)


def _read_at(config: SourceConfig, location: Path, path: str, images: list[str]) -> PhotoTable | str:
    folder = path.rpartition("/")[0]
    names = PhotoNames(images)
    return read_photo_table(location, path, names, config.image, config.label, f"{folder}/" if folder else "")
