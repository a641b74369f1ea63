"""The source: the dataset as it came, its images undecoded, its labels as numbers, its rows with ids.

Owns loading, the checks of the two columns, the encoding of labels, content hashes and row ids. Does not own which rows
are wanted (plan.py). Images are never decoded here; their bytes are read once, to hash them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.config import augment as recipe
from diffcore_hf.core import schema, seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, write_whole
from diffcore_hf.core.images import UnreadableImage, read_bytes
from diffcore_hf.core.loading import load_splits

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict, Features

UNLABELLED = -1
IN_MEMORY = "in-memory"
# Columns that stand beside image and label in config generated and in layout rows.
OURS = ("row_id", "copy", "context", "similarity", "is_generated")


@dataclass(frozen=True)
class LoadedSource:
    """A loaded source. Rows of every split are in source order."""

    splits: DatasetDict
    """Every split with its image column as `Image(decode=False)`: bytes as they came."""
    features: Features
    """The features as the source declares them."""
    config: recipe.Source
    names: tuple[str, ...]
    """Class names as the source has them; a label is a place in it."""
    labels: Mapping[str, np.ndarray]
    """(N,) int64 by split; -1 where there is no label."""
    sha256: Mapping[str, list[str | None]]
    """Hex sha256 of the image bytes by split; None where there are none."""
    sizes: Mapping[str, list[int]]
    """Bytes of each image by split; 0 where there are none."""
    row_ids: Mapping[str, list[str]]
    identity: str
    """The Hub commit, or `local:<16 hex>` over row ids and features."""
    name: str
    """What a card may say of where it came from: the Hub id, `local`, or `in memory`."""
    licence: str | None

    @property
    def rows(self) -> Dataset:
        """The split that is augmented."""
        return self.splits[self.config.split]

    def text_columns(self) -> list[str]:
        """Columns that a template may name."""
        return [name for name, feature in self.features.items() if getattr(feature, "dtype", None) == "string"]


def load_source(
    config: recipe.Source, *, data: Dataset | DatasetDict | None = None, folder: Folder | None = None, prefix: str = ""
) -> LoadedSource:
    """Load a source, or take one in memory, and check that it can be augmented.

    Args:
        config: `path` is a Hub id or a folder; ignored where `data` is given, but for the columns and the split.
        data: a dataset in memory; a single Dataset becomes the split `config.split`.
        folder: the output folder, whose row hashes of an earlier run are used where they still fit.
        prefix: stands before every column that we add.

    Raises:
        UserError: no such source, split or column, a kind of column that is not image classification, a label of no
            class, or a column that has the name of one that we add.
    """
    from datasets import Image

    commit = None
    if data is None:
        splits, commit = load_splits(config.path, config.name, config.data_files, config.revision, section="source")
    else:
        splits = _as_splits(data, config.split)
    if config.split not in splits:
        raise UserError(
            f"source.split is {config.split!r}, which {config.path} does not have; its splits: "
            f"{', '.join(splits)}. Use --source.split"
        )
    features = splits[config.split].features
    _check_columns(config, features, prefix)
    splits = type(splits)({name: _alike(split, name, config, features) for name, split in splits.items()})
    splits = type(splits)(
        {name: split.cast_column(config.image, Image(decode=False)) for name, split in splits.items()}
    )
    names, labels = _encode_labels(splits, config, features)
    read = {name: _hashes(split, name, config.image, folder) for name, split in splits.items()}
    sha256 = {name: [sha for sha, _ in cells] for name, cells in read.items()}
    sizes = {name: [size for _, size in cells] for name, cells in read.items()}
    if commit:
        row_ids = {name: seeding.hub_row_ids(name, len(split)) for name, split in splits.items()}
        identity, said = commit, config.path
    else:
        row_ids = {
            name: seeding.content_row_ids(
                name,
                (
                    (bytes.fromhex(sha or ""), names[label] if label >= 0 else "")
                    for sha, label in zip(sha256[name], labels[name].tolist(), strict=True)
                ),
            )
            for name in splits
        }
        everything = seeding.digest("source", *(row_id for name in sorted(row_ids) for row_id in sorted(row_ids[name])))
        identity = f"local:{everything.hex()[:16]}"
        # A path of this machine is nobody's business; a dataset in memory may be given the name of its repository.
        said = "local" if data is None else "in memory" if config.path == IN_MEMORY else config.path
    licence = _licence(config, commit) if data is None else None
    config = replace(config, revision=commit)
    return LoadedSource(splits, features, config, names, labels, sha256, sizes, row_ids, identity, said, licence)


def _licence(config: recipe.Source, commit: str | None) -> str | None:
    """The licence that the source's card names; None where there is no card or none in it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.repocard import metadata_load

    try:
        path = Path(config.path) / "README.md"
        if commit:
            path = Path(hf_hub_download(config.path, "README.md", repo_type="dataset", revision=commit))
        licence = (metadata_load(path) or {}).get("license") if path.is_file() else None
    except Exception:  # a card is a courtesy: without one the licence is not known, which the card of the result says
        return None
    return ", ".join(map(str, licence)) if isinstance(licence, list) else licence and str(licence)


def _alike(split: Dataset, name: str, config: recipe.Source, features: Features) -> Dataset:
    """A split with the columns of the augmented one, in its order and of its types."""
    if set(split.features) != set(features):
        raise UserError(
            f"split {name!r} of {config.path} has other columns than {config.split!r} "
            f"({', '.join(sorted(set(split.features) ^ set(features)))}). Name files with --source.data_files"
        )
    split = split.select_columns(list(features))
    for column, feature in features.items():
        if split.features[column] != feature:
            raise UserError(
                f"column {column!r} holds {split.features[column]} in split {name!r} of {config.path}, but {feature} "
                f"in {config.split!r}. Cast it first (cast_column), or name files with --source.data_files"
            )
    return split


def _as_splits(data: Dataset | DatasetDict, split: str) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    if isinstance(data, DatasetDict):
        return data
    if isinstance(data, Dataset):
        return DatasetDict({split: data})
    raise UserError(f"the source is a {type(data).__name__}, not a Dataset or DatasetDict. Load it without streaming")


def _check_columns(config: recipe.Source, features: Features, prefix: str) -> None:
    from datasets import ClassLabel, Image, List, Sequence, Value

    there = ", ".join(features)
    for key, column in (("image", config.image), ("label", config.label)):
        if column not in features:
            raise UserError(
                f"source.{key} is {column!r}, which {config.path} does not have; its columns: {there}. "
                f"Use --source.{key}" + (", or one sub-folder a class" if key == "label" else "")
            )
    image, label = features[config.image], features[config.label]
    lists = (List, Sequence, list)
    taken = [column for column in (config.image, config.label) if column in OURS]
    if taken:
        raise UserError(
            f"the source's column {taken[0]!r} is called like one of config generated ({', '.join(OURS)}). "
            "Give it another name first (rename_column)"
        )
    if isinstance(image, lists):
        raise UserError(
            f"source.image is {config.image!r}, a list of images a row; one image a row is needed. "
            "Choose another column with --source.image"
        )
    if not isinstance(image, Image):
        raise UserError(
            f"source.image is {config.image!r}, which holds {image}, not images; columns with images: "
            f"{', '.join(name for name, kind in features.items() if isinstance(kind, Image)) or 'none'}. "
            "Use --source.image"
        )
    if isinstance(label, lists):
        raise UserError(
            f"source.label is {config.label!r}, several labels a row; one class a row is needed. "
            "Choose another column with --source.label"
        )
    integer = isinstance(label, Value) and label.dtype.startswith(("int", "uint"))
    text = isinstance(label, Value) and label.dtype in ("string", "large_string")
    if not (isinstance(label, ClassLabel) or integer or text):
        raise UserError(
            f"source.label is {config.label!r}, which holds {label}, not a ClassLabel, string or integer. "
            "Choose another column with --source.label"
        )
    clash = [name for name in schema.ADDED_COLUMNS if prefix + name in features]
    if clash:
        raise UserError(
            f"the source has a column {prefix + clash[0]!r} already, which we add; nothing was written. "
            f"Put something before ours: --columns.prefix {'dc_' if prefix != 'dc_' else 'diffcore_'}"
        )


def _encode_labels(
    splits: DatasetDict, config: recipe.Source, features: Features
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names and the labels as places in them; the column itself is not touched."""
    from datasets import ClassLabel

    columns = {name: split.with_format(None)[config.label][:] for name, split in splits.items()}
    feature = features[config.label]
    if isinstance(feature, ClassLabel):
        names = tuple(feature.names)
        place = {index: index for index in range(len(names))}
    else:
        values = {value for column in columns.values() for value in column if value not in (None, "", UNLABELLED)}
        ordered = sorted(values)
        names = tuple(str(value) for value in ordered)
        place = {value: index for index, value in enumerate(ordered)}
    labels = {
        name: np.array([place.get(value, UNLABELLED) for value in column], np.int64).reshape(-1)
        for name, column in columns.items()
    }
    if not (labels[config.split] >= 0).any():
        raise UserError(f"no row of split {config.split!r} has a label in {config.label!r}. Use --source.label")
    return names, labels


def undecoded(split: Dataset, image: str, batch: int = 64) -> Iterator[list[dict[str, Any] | None]]:
    """The image column as stored ({"bytes", "path"}), in batches, in order."""
    column: pa.Table
    for column in split.select_columns([image]).with_format("arrow").iter(batch_size=batch):
        yield column[image].to_pylist()


def _hashes(split: Dataset, name: str, image: str, folder: Folder | None) -> list[tuple[str | None, int]]:
    """sha256 and size of every image's bytes; from the output folder where an earlier run read these very files."""
    from tqdm.auto import tqdm

    known = folder and folder.rows / f"{split._fingerprint}.txt"
    if known and known.is_file():
        lines = [line.split(" ") for line in known.read_text().splitlines()]
        if len(lines) == len(split):
            return [(sha if sha != "-" else None, int(size)) for sha, size in lines]
    read: list[tuple[str | None, int]] = []
    # Quick ones (up to a few seconds) need no bar.
    with tqdm(total=len(split), desc=f"reading {name}", unit="image", delay=3, leave=False) as bar:
        for cells in undecoded(split, image):
            read += [_content(cell) for cell in cells]
            bar.update(len(cells))
    return read


def _content(cell: dict[str, Any] | None) -> tuple[str | None, int]:
    try:
        content = read_bytes(cell)
    except UnreadableImage:  # no image, or a file that is gone: the row stays, without a hash
        return None, 0
    return hashlib.sha256(content).hexdigest(), len(content)


def keep_hashes(source: LoadedSource, folder: Folder) -> None:
    """Store the row hashes in the output folder, so that a restart need not read every image again."""
    for name, split in source.splits.items():
        path = folder.rows / f"{split._fingerprint}.txt"
        if not path.is_file():
            cells = zip(source.sha256[name], source.sizes[name], strict=True)
            write_whole(path, "".join(f"{sha or '-'} {size}\n" for sha, size in cells).encode())
