"""Loads the source and returns it as one record.

Owns the order of the steps: load, check the columns, encode the labels, hash the images, give the rows their ids. Does
not choose the rows that are augmented (plan.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.augmentation.source.columns import check_columns, with_columns_of
from diffcore_hf.augmentation.source.files import UnreadFile
from diffcore_hf.augmentation.source.folder import is_local, read_local
from diffcore_hf.augmentation.source.hashes import ImageHash, hash_images, image_cells
from diffcore_hf.augmentation.source.identity import identity_of, row_ids_by_commit, row_ids_by_content
from diffcore_hf.augmentation.source.labels import encode_labels
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.data_files import is_card
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.image_files import ImageFiles
from diffcore_hf.core.image_headers import ImageHeader
from diffcore_hf.core.image_roots import files_below, files_of
from diffcore_hf.core.licences import licence_of_card
from diffcore_hf.core.loading import load_splits

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features

IN_MEMORY = "in-memory"
MISSING_IMAGE = "no image"
"""Reason of a row whose cell has no image, for example in a dataset that was published without its originals."""
"""Value of `source.path` for a dataset in memory."""


@dataclass(frozen=True)
class LoadedSource:
    """A source that was read and checked. The rows of every split are in source order."""

    splits: DatasetDict
    """All splits. The image column is `Image(decode=False)`, so that the bytes are those of the source."""
    features: Features
    """The features as the source declares them."""
    config: SourceConfig
    """Section `source` of the recipe, with the commit as revision."""
    names: tuple[str, ...]
    """The K class names of the source."""
    labels: Mapping[str, NDArray[np.int64]]
    """(N,) indices into `names` for each split; UNLABELLED for a row without a label."""
    sha256: Mapping[str, list[str | None]]
    """Hex sha256 of the bytes of each image, for each split; None for a row without an image."""
    sizes: Mapping[str, list[int]]
    """Number of bytes of each image, for each split; 0 for a row without an image."""
    headers: Mapping[str, list[ImageHeader | str]]
    """Format, size and mode of each image, for each split; or the reason why the image will not be decoded."""
    unreadable: Mapping[str, Mapping[int, str]]
    """For each split: the index of each row without a hash, and the reason."""
    row_ids: Mapping[str, list[str]]
    """Id of each row, for each split."""
    identity: str
    """The Hub commit, or `local:<16 hex>` over all row ids."""
    name: str
    """The name on the dataset card: the Hub id, `local`, or `in memory`."""
    files: ImageFiles
    """The files that an image cell may name."""
    licence: str | None
    """The licence in the source's card; None if it is not known."""
    layout: str = ""
    """How the rows follow from the files of a local folder, such as `class folders`; empty for any other source."""
    read: tuple[str, ...] = ()
    """Paths of the files of a local folder that were read: photos, tables and data files."""
    unread: tuple[UnreadFile, ...] = ()
    """The other files of a local folder, each with its reason."""
    keeps_hashes: bool = False
    """Whether the hashes are in the cache of the user (hash_cache.py), so that the output folder does not need them."""

    @property
    def rows(self) -> Dataset:
        """The split that is augmented."""
        return self.splits[self.config.split]

    def text_columns(self) -> list[str]:
        """Returns the columns that a prompt template may name."""
        texts = ("string", "large_string")
        return [name for name, feature in self.features.items() if getattr(feature, "dtype", None) in texts]

    def image_columns(self) -> list[str]:
        """Returns the columns that a strategy may read as control images."""
        from datasets import Image

        return [name for name, feature in self.features.items() if isinstance(feature, Image)]


def load_source(
    config: SourceConfig, *, data: Dataset | DatasetDict | None = None, folder: Folder | None = None, prefix: str = ""
) -> LoadedSource:
    """Loads a source from its path, or uses a dataset in memory, and checks that it can be augmented.

    Args:
        config: section `source` of the recipe. Its `path` is a Hub id or a folder; it is not loaded if `data` is given.
        data: a dataset in memory; a single Dataset becomes the split `config.split`.
        folder: the output folder. Hashes that an earlier run stored there are used if the rows are the same.
        prefix: prefix of the names of the added columns.

    Raises:
        UserError: the source, split or a column does not exist; a column has the wrong type or the name of an added
            column; or no row has a label.
    """
    from datasets import Image

    commit = None
    local = read_local(config) if data is None and is_local(config.path) else None
    if local is not None:
        splits, files = local.splits, local.files
    elif data is not None:
        splits, files = as_splits(data, config.split), files_below(config.root)
    else:
        _check_hub_options(config)
        splits, commit = load_splits(config.path, config.name, config.data_files, config.revision, section="source")
        files = files_of(config.path, commit)
    if config.split not in splits:
        raise UserError(
            f"source.split is {config.split!r}, which {config.path} does not have; its splits: "
            f"{', '.join(splits)}. Use --source.split"
        )
    _check_split_names(splits, config)
    features = splits[config.split].features
    check_columns(config, features, prefix)
    undecoded = {
        name: with_columns_of(features, split, name, config).cast_column(config.image, Image(decode=False))
        for name, split in splits.items()
    }
    splits = type(splits)(undecoded)
    names, labels = encode_labels(splits, config.label, config.split)
    hashes = {
        name: (local and local.hashes(name)) or hash_images(split, name, config.image, folder, files)
        for name, split in splits.items()
    }
    if data is not None and not files.roots:
        _check_stored(splits[config.split], config.image, hashes[config.split])
    if local is not None and local.cache is not None:
        local.cache.save()
    sha256 = {name: [image.sha256 for image in images] for name, images in hashes.items()}
    if commit:
        row_ids = row_ids_by_commit({name: len(split) for name, split in splits.items()})
    else:
        row_ids = row_ids_by_content(sha256, labels, names)
    return LoadedSource(
        splits=splits,
        features=features,
        config=replace(config, revision=commit),
        names=names,
        labels=labels,
        sha256=sha256,
        sizes={name: [image.size for image in images] for name, images in hashes.items()},
        headers={name: [image.header for image in images] for name, images in hashes.items()},
        unreadable={
            name: {row: image.reason or MISSING_IMAGE for row, image in enumerate(images) if image.sha256 is None}
            for name, images in hashes.items()
        },
        row_ids=row_ids,
        identity=commit or identity_of(row_ids),
        name=_public_name(config, commit, in_memory=data is not None),
        files=replace(files, grey_range=config.grey_range),
        layout="" if local is None else local.layout,
        read=() if local is None else local.read,
        unread=() if local is None else local.unread,
        keeps_hashes=local is not None and local.photos is not None,
        licence=_licence(config, commit) if data is None else None,
    )


_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")
_LONGEST_SPLIT_NAME = 100


def _check_split_names(splits: DatasetDict, config: SourceConfig) -> None:
    """Raises UserError if a split has a name that `datasets` cannot load, because files of an export have these names.

    Only a dataset in memory can have such a split.
    """
    for name in splits:
        if len(name) > _LONGEST_SPLIT_NAME or not _SPLIT_NAME.fullmatch(name):
            raise UserError(
                f"{config.path} has a split {name[:_LONGEST_SPLIT_NAME]!r}. The name of a split has at most "
                f"{_LONGEST_SPLIT_NAME} letters, digits and underscores. Rename it: data['name'] = data.pop(...)"
            )


def _check_hub_options(config: SourceConfig) -> None:
    """Raises UserError if the source is a file, or if it is not local and has an option for local folders."""
    if os.path.isfile(config.path):
        raise UserError(
            f"source.path {config.path} is a file, not a folder or an archive. Give its folder: --source.path "
            f"{os.path.dirname(config.path) or '.'}"
        )
    for key, value, default in (("layout", config.layout, "auto"), ("table", config.table, None)):
        if value != default:
            raise UserError(
                f"source.{key} is {value!r}, which only a local folder has, and {config.path!r} is not a folder. "
                f"Give an existing folder, or leave source.{key} out"
            )


def _check_stored(rows: Dataset, column: str, hashes: Sequence[ImageHash]) -> None:
    """Raises UserError if a dataset in memory names files instead of storing its images, and none of them was read."""
    if any(image.sha256 for image in hashes):
        return
    paths = [cell["path"] for cell in image_cells(rows, column) if cell and cell["path"] and not cell["bytes"]]
    absolute = [path for path in paths if Path(path).is_absolute()]
    if absolute:
        folder = os.path.commonpath([str(Path(path).parent) for path in absolute])
        if len(Path(folder).parts) < 3:
            folder = "FOLDER"  # the message never proposes the whole disk, because a cell may name any file
        raise UserError(
            f"the images of the dataset are {len(absolute)} files, and no file is read without source.root. "
            f"If these files may be read, give their folder: source={{'root': {folder!r}}}"
        )


def as_splits(data: Dataset | DatasetDict, split: str) -> DatasetDict:
    """Return a dataset in memory as splits; a single Dataset becomes the split of that name.

    Raises:
        UserError: another type, such as a stream.
    """
    from datasets import Dataset, DatasetDict

    if isinstance(data, DatasetDict):
        return data
    if isinstance(data, Dataset):
        return DatasetDict({split: data})
    raise UserError(f"the source is a {type(data).__name__}, not a Dataset or DatasetDict. Load it without streaming")


def _public_name(config: SourceConfig, commit: str | None, *, in_memory: bool) -> str:
    """Returns the name of the source for the card, which never contains a path of this machine.

    For a dataset in memory, `source.path` may be the name of its repository on the Hub.
    """
    if commit or (in_memory and config.path != IN_MEMORY):
        return config.path
    return "in memory" if in_memory else "local"


def _licence(config: SourceConfig, commit: str | None) -> str | None:
    """Returns the licence in the source's card; None if there is no card or no licence in it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.repocard import metadata_load

    try:
        path = Path(config.path) / "README.md"
        if commit:
            path = Path(hf_hub_download(config.path, "README.md", repo_type="dataset", revision=commit))
        return licence_of_card(metadata_load(path) or {}) if is_card(path) else None
    except Exception:  # A card is optional. Without network, without a file or with invalid YAML it is "not known".
        return None
