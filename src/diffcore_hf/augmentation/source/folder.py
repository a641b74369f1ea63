"""Folder: reads a local folder as splits, and names every file in it that gives no row.

Owns the rows of photos in a folder or an archive: an image cell contains the path, not the bytes. The rules are in
layouts.py and tables.py, the choice among them in folder_choice.py. `datasets` reads data files; its rows are then
compared with the files.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.augmentation.source.archives import unpack
from diffcore_hf.augmentation.source.file_kinds import DOCUMENT
from diffcore_hf.augmentation.source.files import Listing, SourceFile, UnreadFile, list_files, read_kind
from diffcore_hf.augmentation.source.folder_choice import DESCRIPTIONS, Archives, DataFiles, Tables, choose
from diffcore_hf.augmentation.source.hash_cache import HashCache, Photo
from diffcore_hf.augmentation.source.hashes import ImageHash
from diffcore_hf.augmentation.source.layouts import FolderLayout, folder_layout
from diffcore_hf.augmentation.source.photo_rows import PhotoRows, dataset_of, folder_rows, table_rows
from diffcore_hf.augmentation.source.split_names import split_of_file
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.image_files import ImageFiles
from diffcore_hf.core.image_roots import files_below, files_of
from diffcore_hf.core.loading import load

if TYPE_CHECKING:
    from datasets import DatasetDict

FOLLOW_LINKS = "--source.follow_links outside"
"""The option that reads the targets of links that lead out of a local folder."""
ROOT = "--source.root FOLDER"
"""The option that allows the cells of data files to name files of another folder."""
BESIDE_PHOTOS = {
    "table": ("table that is not used", "--source.table {path} reads it"),
    "data": ("data file beside photos", "--source.data_files {path} reads it"),
    "archive": ("archive beside photos", "unpack it first"),
    "image": ("photo beside an archive", "unpack the archive first"),
}
"""Reason and detail of the files of each kind that a layout does not use."""
NO_ROW = "photo without a row in the table"
NOT_READ = "file that `datasets` does not read"
_MANY_TARGETS = 64
_SHOWN = 5
"""Largest number of names in the description of a table."""


@dataclass(frozen=True)
class LocalSource:
    """The rows of a local folder or archive."""

    splits: DatasetDict
    layout: str
    """How the rows follow from the files, for `plan`."""
    read: tuple[str, ...]
    """Paths of the files that were read: photos, tables and data files."""
    unread: tuple[UnreadFile, ...]
    """The other files, each with its reason."""
    files: ImageFiles
    """The files that the image cells may name."""
    photos: Mapping[str, Sequence[Photo]] | None = None
    """The photo of each row, for each split. None if `datasets` read the folder."""
    cache: HashCache | None = None

    def hashes(self, split: str) -> list[ImageHash] | None:
        """Returns the hash of each row of a split; None if `datasets` read the folder."""
        from tqdm.auto import tqdm

        if self.photos is None or self.cache is None:
            return None
        photos = self.photos[split]
        # The bar is shown after three seconds, because most sources are read in less time.
        with tqdm(total=len(photos), desc=f"reading {split}", unit="image", delay=3, leave=False) as bar:
            return self.cache.hashes(photos, self.files, bar.update)


def is_local(path: str) -> bool:
    """Returns whether `source.path` is a folder, or an archive of photos."""
    return os.path.isdir(path) or (os.path.isfile(path) and read_kind(path, os.stat(path)) == "archive")


def read_local(config: SourceConfig) -> LocalSource:
    """Reads a local folder or archive.

    Raises:
        UserError: the folder holds no photos with classes, or a wanted layout or table does not fit.
    """
    from datasets import DatasetDict

    base = Path(config.path)
    cache = HashCache.of_folder(os.path.realpath(base))
    listing = _listing(base, config, cache)
    choice = choose(config, listing, base)
    if isinstance(choice, Archives):
        listing = _unpacked(listing, choice, cache)
        choice = choose(replace(config, follow_links="inside"), listing, base)
    if isinstance(choice, Archives):
        raise UserError(
            f"source.path {config.path} is an archive of archives. Unpack it into a folder and give the folder"
        )
    if isinstance(choice, DataFiles):
        return _read_by_datasets(config, listing, choice.files)
    files = ImageFiles((listing.root, *_roots(listing.outside)), "", link_option=FOLLOW_LINKS)
    by_path = {file.path: file for file in listing.files}
    if isinstance(choice, FolderLayout):
        rows = folder_rows(choice, config, listing.root, by_path)
        unread, used, description = choice.unread, set[str](), choice.description
    else:
        rows = table_rows(choice.tables, config, listing.root, by_path)
        unread, used, description = (), {table.name for table in choice.tables}, _describe(choice, rows)
    photos = {split: part.photos for split, part in rows.items()}
    splits = DatasetDict({split: dataset_of(part, split) for split, part in rows.items()})
    read = {file.path for file in _files(photos)}
    if links := sum(by_path[path].linked for path in read):
        description += f"; {links:,} of the photos through symbolic links"
    named = {file.path for file in unread} | read | used
    left = [_left_over(file, bool(used)) for file in listing.files if file.path not in named]
    unread = tuple(sorted((*listing.unread, *unread, *left)))
    return LocalSource(splits, description, tuple(sorted(read | used)), unread, files, photos, cache)


def _files(photos: Mapping[str, Sequence[Photo]]) -> Iterator[SourceFile]:
    for _, file in chain.from_iterable(photos.values()):
        if file is not None:
            yield file


def _listing(base: Path, config: SourceConfig, cache: HashCache) -> Listing:
    """Returns the files of a folder; an archive is listed like a folder with this one file."""
    if base.is_dir():
        return list_files(base, config.follow_links, cache.kind)
    state = os.stat(base)
    times = (state.st_mtime_ns, state.st_ctime_ns)
    file = SourceFile(base.name, "archive", state.st_size, *times, state.st_ino, state.st_dev)
    return Listing(os.path.realpath(base.parent), (file,), ())


def _unpacked(listing: Listing, choice: Archives, cache: HashCache) -> Listing:
    """Returns the files of the unpacked archives. The other files beside the archives are not read."""
    unpacked = unpack([Path(listing.root) / file.path for file in choice.archives])
    inside = list_files(unpacked.folder, "inside", cache.kind)
    beside = [_left_over(file, False) for file in listing.files if file not in choice.archives]
    return replace(inside, unread=(*listing.unread, *beside, *unpacked.unread, *inside.unread))


def _left_over(file: SourceFile, from_table: bool) -> UnreadFile:
    """Returns a file that the chosen layout does not use."""
    if file.kind == "image" and from_table:
        return UnreadFile(file.path, NO_ROW)
    reason, detail = BESIDE_PHOTOS[file.kind]
    return UnreadFile(file.path, reason, detail.format(path=file.path))


def _roots(targets: Sequence[str]) -> list[str]:
    """Returns the targets of links as roots of `ImageFiles`; if there are many, the folders that contain them."""
    if len(targets) <= _MANY_TARGETS:
        return list(targets)
    return sorted({target if os.path.isdir(target) else os.path.dirname(target) for target in targets})


def _describe(choice: Tables, rows: Mapping[str, PhotoRows]) -> str:
    """Returns the description of rows from tables, with the columns that were recognised."""
    first = choice.tables[0]
    names = ", ".join(table.name for table in choice.tables[:3]) + (", ..." if len(choice.tables) > 3 else "")
    text = f"table {names}: photos by column {first.file_column}, classes by column {first.class_column}"
    if len(rows) > 1:
        text += f", {len(rows)} splits"
    missing = [value or "" for table in choice.tables for value in table.values_without_photo()]
    if not missing:
        return text
    shown = ", ".join(map(repr, missing[:_SHOWN])) + (", ..." if len(missing) > _SHOWN else "")
    return f"{text}; {len(missing):,} row{'s name' if len(missing) > 1 else ' names'} no photo of the folder ({shown})"


def _read_by_datasets(config: SourceConfig, listing: Listing, files: Sequence[str] = ()) -> LocalSource:
    """Returns the rows that `datasets` reads from data files, and the files that it does not read.

    Args:
        config: section `source` of the recipe.
        listing: the files of the folder.
        files: paths of the data files; empty: `datasets` chooses them.
    """
    folder = config.path
    data_files: str | dict[str, list[str]] | None = _by_split(files) or config.data_files
    if not os.path.isdir(folder):
        folder, data_files = os.path.split(os.path.realpath(folder))
    follow_links = config.follow_links == "outside"
    try:
        loaded = load(folder, config.name, data_files, None, section="source", follow_links=follow_links)
    except UserError as error:
        if not _can_be_class_folders(config, listing):
            raise
        raise UserError(f"{error}, or --source.layout class_folders, which reads the photos") from error
    root = os.path.realpath(folder)
    read = {os.path.relpath(os.path.realpath(file), root) for file in loaded.data_files}
    if listing.of_kind("image"):
        read |= _named_by_cells(loaded.splits, config.image, root) & {file.path for file in listing.files}
    left = [UnreadFile(file.path, _why_not_read(file.path)) for file in listing.files if file.path not in read]
    named = [file for file in listing.unread if file.path not in read]
    suffixes = Counter(os.path.splitext(file)[1] or "no suffix" for file in loaded.data_files)
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(3))
    description = f"files that `datasets` reads ({kinds})"
    unread = tuple(sorted((*named, *left)))
    return LocalSource(
        loaded.splits, description, tuple(sorted(read)), unread, _files_of_cells(config, folder, listing)
    )


def _why_not_read(path: str) -> str:
    """Returns why `datasets` gives no row of a file."""
    return DOCUMENT if os.path.basename(path) in (*DESCRIPTIONS, "dataset_info.json") else NOT_READ


def _can_be_class_folders(config: SourceConfig, listing: Listing) -> bool:
    """Returns whether a folder holds photos in class folders, and no key of the recipe asks for another reading."""
    chosen = config.layout != "auto" or config.name or config.data_files
    images = [file.path for file in listing.of_kind("image")]
    return not chosen and isinstance(folder_layout(images, "class_folders"), FolderLayout)


def _by_split(files: Sequence[str]) -> dict[str, list[str]]:
    """Returns data files by the split that their names mean, as patterns of `datasets`."""
    splits: dict[str, list[str]] = {}
    for path in files:
        splits.setdefault(split_of_file(path), []).append(glob.escape(path))
    return splits


def _files_of_cells(config: SourceConfig, folder: str, listing: Listing) -> ImageFiles:
    """Returns the files that cells of data files may name: below the folder, targets of its links, `source.root`."""
    roots = (*files_of(folder).roots, *_roots(listing.outside), *files_below(config.root).roots)
    return ImageFiles(roots, ROOT, link_option=FOLLOW_LINKS)


def _named_by_cells(splits: DatasetDict, column: str, root: str) -> set[str]:
    """Returns the paths below the folder that image cells without bytes name."""
    import pyarrow.compute
    from datasets import Image

    found: set[str] = set()
    for split in splits.values():
        if isinstance(split.features.get(column), Image):
            cells = split.select_columns([column]).with_format("arrow")
            for table in cells.iter(batch_size=256):
                paths = pyarrow.compute.struct_field(table[column], "path").to_pylist()
                found |= {path for path in paths if path and path.startswith(root + os.sep)}
    return {os.path.relpath(path, root) for path in found}
