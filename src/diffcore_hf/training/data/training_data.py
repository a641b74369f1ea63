"""The data of a training: splits, classes, partners and the layout of an epoch, loaded as the recipe describes.

Owns the choice of the splits, the checks that need several splits, and the identity of the data. split.py reads one
split, pairs.py decodes images, and loader.py reads batches.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diffcore_hf.config.train import DataConfig, MixConfig
from diffcore_hf.core.dataset_columns import column_values, image_mask
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.core.image_roots import files_of
from diffcore_hf.core.loading import load_splits
from diffcore_hf.training.data.columns import Columns, name_columns, read_manifest, require_columns
from diffcore_hf.training.data.epoch_layout import EpochLayout, lay_out_epoch
from diffcore_hf.training.data.holdout import holdout
from diffcore_hf.training.data.image_labels import Weights, soft_label
from diffcore_hf.training.data.pool import Pool
from diffcore_hf.training.data.split import UNKNOWN, Split, read_classes, read_split

if TYPE_CHECKING:
    from datasets import DatasetDict

VALIDATION_NAMES = ("validation", "val", "valid", "dev")


@dataclass(frozen=True)
class TrainingData:
    """The data that a training reads."""

    train: Split
    validation: Split | None
    """The split that selects the best checkpoint; None: only the last checkpoint is scored."""
    test: Split
    """The split that is scored at the end."""
    classes: tuple[str, ...]
    columns: Columns
    pool: Pool | None
    """The images from which partners are drawn; None if partners are the rows' own counterparts."""
    has_counterpart: np.ndarray
    """(N,) bool: whether each training row has a counterpart that the training reads."""
    layout: EpochLayout
    """The samples of an epoch in the mode of the recipe."""
    planned_share: float
    """Share of the training rows for which the augmentation planned a counterpart."""
    identity: Mapping[str, Any]
    """Values that identify the data, independent of the location where it is stored."""
    files: ImageFiles = NO_FILES
    """The files that an image cell may name."""
    notes: tuple[str, ...] = ()
    """Sentences that are printed below the result, such as the number of rows that were left out."""

    @property
    def has_soft_labels(self) -> bool:
        """Whether a label may have more than one class, so that a training needs probabilities."""
        if self.pool is not None and self.pool.labels is not None:
            return True
        return self.train.image_labels is not None and (self._images_are_rows or bool(self.has_counterpart.any()))

    def label_of_row(self, row: int) -> Weights:
        """Return the label of the image of a training row."""
        if self.train.image_labels is not None and self._images_are_rows:
            return self.train.image_labels[row]
        return soft_label(int(self.train.labels[row]), None, None)

    def label_of_partner(self, row: int, pool_index: int | None) -> Weights:
        """Return the label of the image that a training row is mixed with or replaced by.

        Args:
            row: index of the training row.
            pool_index: index of the partner in the pool; None: the partner is the row's own counterpart.
        """
        if pool_index is not None and self.pool is not None and self.pool.labels is not None:
            return self.pool.labels[pool_index]
        if pool_index is None and self.train.image_labels is not None:
            return self.train.image_labels[row]
        return soft_label(int(self.train.labels[row]), None, None)

    @property
    def _images_are_rows(self) -> bool:
        """Whether generated images are rows of their own (layouts `rows` and `mixed`)."""
        return self.columns.generated not in self.train.rows.column_names


def load_data(config: DataConfig, mix: MixConfig, others: Sequence[str] = ()) -> TrainingData:
    """Load and check the data of a recipe.

    Args:
        config: location, columns and splits of the data.
        mix: mode and partner of mixing. They decide whether the column of counterparts or a pool is needed.
        others: names of more image columns that the splits keep, if they have them.

    Raises:
        UserError: the dataset, a split, a column or the pool does not exist, or the originals were left out.
    """
    splits, commit = load_splits(config.path, config.name, None, config.revision, section="data")
    manifest = read_manifest(config.path, commit)
    if config.train not in splits:
        raise UserError(
            f"data.train is {config.train!r}, which {config.path} does not have. Its splits are {', '.join(splits)}. "
            "Use --data.train"
        )
    columns = splits[config.train].column_names
    names = name_columns(columns, manifest, image=config.image, generated=config.generated, label=config.label)
    reads_own = mix.mode != "off" and mix.partner == "own"
    require_columns(columns, names, ("image", "label", "generated") if reads_own else ("image", "label"), config.path)
    classes, codes = read_classes(splits[config.train], names.label, config.path)

    notes = equal_images_notes(manifest)

    def read(name: str) -> Split:
        split, left_out = read_split(
            splits[name],
            name,
            names,
            codes,
            path=config.path,
            group=config.group,
            classes=classes,
            others=others,
        )
        if left_out:
            total = left_out + len(split)
            notes.append(f"{left_out} of {total} rows of split {name} have no image or no known label and are left out")
        return split

    train = read(config.train)
    validation_name, test_name = _scored_splits(config, splits)
    validation = read(validation_name) if validation_name else None
    test = read(test_name) if test_name else None
    held_out: Set[str] = frozenset()
    if test is None:
        if validation is not None:
            # The split that selects a checkpoint must not score it, so a single split is only used for scoring.
            test = validation
            validation = None
        else:
            all_ids = set(train.row_ids)
            train, test = _hold_out(train, config)
            held_out = all_ids - set(train.row_ids)
            notes.append(
                f"{len(test)} of {len(test) + len(train)} images (a share of each class) were held out of the training "
                "and used for scoring. Some of them may have been references of the filter"
            )
    if config.group and test.groups is None:
        scored_columns = splits[test_name or validation_name or config.train].column_names
        raise UserError(
            f"data.group is {config.group!r}, which split {test.name!r} of {config.path} does not have. Its columns "
            f"are {', '.join(scored_columns)}. Use --data.group"
        )

    has_counterpart = image_mask(train.rows, names.generated) if reads_own else np.zeros(len(train), bool)
    pool = _partner_pool(config, mix, commit, train, names, codes, classes, held_out)
    has_partner = has_counterpart if pool is None else pool.serves_each(train.labels.tolist(), train.row_ids)
    return TrainingData(
        train=train,
        validation=validation,
        test=test,
        classes=classes,
        columns=names,
        pool=pool,
        has_counterpart=has_counterpart,
        layout=lay_out_epoch(mix.mode, has_partner),
        planned_share=float((manifest or {}).get("recipe", {}).get("fraction", 1.0)),
        identity=_identity(config, commit, manifest, splits),
        files=replace(files_of(config.path, commit), grey_range=_grey_range(manifest)),
        notes=tuple(notes),
    )


def equal_images_notes(manifest: Mapping[str, Any] | None) -> list[str]:
    """Return the note for data in which an image of one split is also an image of another split.

    Args:
        manifest: content of diffcore.json; None if the data has none.
    """
    report = (manifest or {}).get("source_report")
    count = report.get("across_splits") if isinstance(report, Mapping) else None
    if not isinstance(count, int) or count <= 0:
        return []
    images = "1 image of the source is" if count == 1 else f"{count} images of the source are"
    return [f"{images} in more than one split, so the scores are too high (diffcore-hf plan names these images)"]


def _grey_range(manifest: Mapping[str, Any] | None) -> Literal["dtype", "data"]:
    """Return the setting `source.grey_range` that the augmentation used.

    It states how grey values are scaled when images are decoded.
    """
    source = (manifest or {}).get("recipe", {}).get("source", {})
    return "data" if source.get("grey_range") == "data" else "dtype"


def _scored_splits(config: DataConfig, splits: DatasetDict) -> tuple[str | None, str | None]:
    """Return the names of the validation split and of the test split; None if the data has no such split.

    Raises:
        UserError: a named split does not exist, is the training split, or is named for both.
    """
    validation = _named_split("validation", config.validation, VALIDATION_NAMES, config.train, splits)
    test = _named_split("test", config.test, ("test",), config.train, splits)
    if validation and validation == test:
        raise UserError(
            f"data.validation and data.test are both {test!r}, but the split that selects a model must not score it. "
            "Use --data.validation null"
        )
    return validation, test


def _named_split(
    key: str, name: str | None, default_names: Sequence[str], train: str, splits: Collection[str]
) -> str | None:
    """Return the split that `data.<key>` names. For `auto`, return the first default name that exists.

    Raises:
        UserError: the split does not exist, or is the training split.
    """
    if name == "auto":
        return next((default for default in default_names if default in splits and default != train), None)
    if name is not None and name not in splits:
        raise UserError(
            f"data.{key} is {name!r}, which the data does not have. Its splits are {', '.join(splits)}. "
            f"Name one of them with --data.{key}, or use null"
        )
    if name == train:
        raise UserError(f"data.{key} is {name!r}, which is the training split. Name another split, or use null")
    return name


def _hold_out(split: Split, config: DataConfig) -> tuple[Split, Split]:
    """Return the rows to train on, and the rows to score as a split named `holdout`."""
    kept, held_out = holdout(split, config.holdout)
    if not len(held_out):
        raise UserError(
            f"{config.path} has no split to score on, and data.holdout {config.holdout:g} holds out no row. "
            "Use e.g. --data.holdout 0.2"
        )
    return split.select(kept), split.select(held_out, "holdout")


def _partner_pool(
    config: DataConfig,
    mix: MixConfig,
    commit: str | None,
    train: Split,
    names: Columns,
    codes: Mapping[Any, int],
    classes: Sequence[str],
    held_out: Set[str],
) -> Pool | None:
    """Return the pool from which partners are drawn; None if every partner is the row's own counterpart."""
    if mix.mode == "off" or mix.partner == "own":
        return None
    if mix.partner == "real_same_class":
        return Pool(train.rows, names, without_self=True, labels=train.labels, row_ids=train.row_ids)
    return _generated_pool(config, mix.partner, commit, names, codes, classes, held_out)


def _generated_pool(
    config: DataConfig,
    partner: str,
    commit: str | None,
    names: Columns,
    codes: Mapping[Any, int],
    classes: Sequence[str],
    held_out: Set[str],
) -> Pool:
    """Index the images of the configuration `generated`, with all copies, but without held-out rows."""
    missing = UserError(
        f"mix.partner is {partner!r}, which reads configuration 'generated', but {config.path} has none that can be "
        "loaded. Use --mix.partner own"
    )
    try:
        splits, _ = load_splits(config.path, "generated", None, commit or config.revision, section="data")
    except UserError as error:
        raise missing from error
    if "train" not in splits:
        raise missing
    rows = splits["train"]
    if held_out:
        row_ids = column_values(rows, "row_id")
        rows = rows.select([index for index, row_id in enumerate(row_ids) if row_id not in held_out])
    labels = np.array([codes.get(value, UNKNOWN) for value in column_values(rows, names.label)], np.int64)
    own_names = replace(names, row_id="row_id")
    return Pool(rows, own_names, without_self=False, partner=partner, labels=labels, classes=classes)


def _identity(
    config: DataConfig, commit: str | None, manifest: Mapping[str, Any] | None, splits: DatasetDict
) -> dict[str, Any]:
    """Return values that identify the data. A local path is reduced to its last part, because results are published."""
    manifest = manifest or {}
    return {
        "path": config.path if commit else f"local:{Path(config.path).resolve().name}",
        "commit": commit,
        "recipe_digest": manifest.get("recipe_digest"),
        "hash": manifest.get("hash"),
        "rows": {name: len(rows) for name, rows in splits.items()},
    }
