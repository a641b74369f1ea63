"""The data of a training: splits, classes, partners and the layout of an epoch, from `data` of the recipe.

Owns the choice of the splits, the checks that need more than one of them, and the identity of the data. One split is
read by split.py; images are decoded in pairs.py and batched in loader.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.config.train import DataConfig, MixConfig
from diffcore_hf.core.dataset_columns import column_values, image_mask
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.loading import load_splits
from diffcore_hf.training.data.columns import Columns, name_columns, read_manifest, require_columns
from diffcore_hf.training.data.epoch_layout import EpochLayout, lay_out_epoch
from diffcore_hf.training.data.holdout import holdout
from diffcore_hf.training.data.pool import Pool
from diffcore_hf.training.data.split import UNKNOWN, Split, read_classes, read_split

if TYPE_CHECKING:
    from datasets import DatasetDict

VALIDATION_NAMES = ("validation", "val", "valid", "dev")


@dataclass(frozen=True)
class TrainingData:
    """All that a training reads."""

    train: Split
    validation: Split | None
    """The split that chooses the best checkpoint; None: only the last one is scored."""
    test: Split
    """The split that is scored at the end."""
    classes: tuple[str, ...]
    columns: Columns
    pool: Pool | None
    """The images from which partners are drawn, by class; None if partners are the rows' own counterparts."""
    has_counterpart: np.ndarray
    """(N,) bool, of the training rows."""
    layout: EpochLayout
    """Samples of an epoch in the recipe's mode, built once."""
    planned_share: float
    """Share of the training rows for which the augmentation planned a counterpart."""
    identity: Mapping[str, Any]
    """Identifies the data, independent of where it is stored."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader of the result needs."""


def load_data(config: DataConfig, mix: MixConfig) -> TrainingData:
    """Load and check the data of a recipe.

    Args:
        config: where it is stored, and its columns and splits.
        mix: decides what is needed: the column of counterparts, a pool, or neither.

    Raises:
        UserError: one line for a missing dataset, split, column or pool, and for originals that were left out.
    """
    splits, commit = load_splits(config.path, config.name, None, config.revision, section="data")
    manifest = read_manifest(config.path, commit)
    if config.train not in splits:
        raise UserError(
            f"data.train is {config.train!r}, which {config.path} does not have; its splits: {', '.join(splits)}. "
            "Use --data.train"
        )
    columns = splits[config.train].column_names
    names = name_columns(columns, manifest, image=config.image, generated=config.generated, label=config.label)
    reads_own = mix.mode != "off" and mix.partner == "own"
    require_columns(columns, names, ("image", "label", "generated") if reads_own else ("image", "label"), config.path)
    classes, codes = read_classes(splits[config.train], names.label, config.path)

    notes: list[str] = []

    def read(name: str) -> Split:
        split, left_out = read_split(splits[name], name, names, codes, path=config.path, group=config.group)
        if left_out:
            whole = left_out + len(split)
            notes.append(
                f"{left_out} of {whole} rows of split {name} have no image, or no known label, and are left out"
            )
        return split

    train = read(config.train)
    validation_name, test_name = _scored_splits(config, splits)
    validation = read(validation_name) if validation_name else None
    test = read(test_name) if test_name else None
    held_out: Set[str] = frozenset()
    if test is None:
        if validation is not None:
            # The split that chooses a checkpoint must not score it, so a single one only scores.
            test = validation
            validation = None
        else:
            all_ids = set(train.row_ids)
            train, test = _hold_out(train, config)
            held_out = all_ids - set(train.row_ids)
            notes.append(
                f"{len(test)} of {len(test) + len(train)} images were held out of training, by class, to be scored. "
                "Where their classes' thresholds were made, they may have been among the references"
            )
    if config.group and test.groups is None:
        scored_columns = splits[test_name or validation_name or config.train].column_names
        raise UserError(
            f"data.group is {config.group!r}, which split {test.name!r} of {config.path} does not have; its columns: "
            f"{', '.join(scored_columns)}. Use --data.group"
        )

    has_counterpart = image_mask(train.rows, names.generated) if reads_own else np.zeros(len(train), bool)
    pool = _partner_pool(config, mix, commit, train, names, codes, held_out)
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
        notes=tuple(notes),
    )


def _scored_splits(config: DataConfig, splits: DatasetDict) -> tuple[str | None, str | None]:
    """Return the names of the splits for validation and test; None: there is none.

    Raises:
        UserError: a named split does not exist, is trained on, or is meant for both.
    """
    validation = _named_split("validation", config.validation, VALIDATION_NAMES, config.train, splits)
    test = _named_split("test", config.test, ("test",), config.train, splits)
    if validation and validation == test:
        raise UserError(
            f"data.validation and data.test are both {test!r}: what chooses a model may not score it. "
            "Use --data.validation null"
        )
    return validation, test


def _named_split(
    key: str, name: str | None, usual_names: Sequence[str], train: str, splits: Collection[str]
) -> str | None:
    if name == "auto":
        return next((usual for usual in usual_names if usual in splits and usual != train), None)
    if name is not None and name not in splits:
        raise UserError(
            f"data.{key} is {name!r}, which the data does not have; its splits: {', '.join(splits)}. "
            f"Use --data.{key}, or null"
        )
    if name == train:
        raise UserError(f"data.{key} is {name!r}, which is trained on. Name another split, or null")
    return name


def _hold_out(split: Split, config: DataConfig) -> tuple[Split, Split]:
    """Return the rows that are trained on and, as split `holdout`, the rows that are scored."""
    kept, held_out = holdout(split, config.holdout)
    if not len(held_out):
        raise UserError(
            f"{config.path} has no split to score on, and data.holdout {config.holdout:g} leaves none. "
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
    held_out: Set[str],
) -> Pool | None:
    """Return the pool from which partners are drawn; None if every partner is the row's own counterpart."""
    if mix.mode == "off" or mix.partner == "own":
        return None
    if mix.partner == "real_same_class":
        return Pool(train.rows, names, without_self=True, labels=train.labels, row_ids=train.row_ids)
    return _generated_pool(config, commit, names, codes, held_out)


def _generated_pool(
    config: DataConfig, commit: str | None, names: Columns, codes: Mapping[Any, int], held_out: Set[str]
) -> Pool:
    """Index config `generated`: every kept image of any copy, without those of rows that are held out."""
    missing = UserError(
        f"mix.partner is 'class', which reads config 'generated', and {config.path} has none that loads. Use "
        "--mix.partner own"
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
    return Pool(rows, replace(names, row_id="row_id"), without_self=False, labels=labels)


def _identity(
    config: DataConfig, commit: str | None, manifest: Mapping[str, Any] | None, splits: DatasetDict
) -> dict[str, Any]:
    """Return what identifies the data; of a local path only the last part, because results are published."""
    manifest = manifest or {}
    return {
        "path": config.path if commit else f"local:{Path(config.path).resolve().name}",
        "commit": commit,
        "recipe_digest": manifest.get("recipe_digest"),
        "hash": manifest.get("hash"),
        "rows": {name: len(rows) for name, rows in splits.items()},
    }
