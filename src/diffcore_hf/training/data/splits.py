"""The data of a training: splits with integer labels, classes, and what may serve as a partner.

Owns the way from `data` of the recipe to arrays and undecoded rows, which rows are left out and why, and the holdout
where a dataset has nothing to score on. Does not decode (transform.py) nor batch (loader.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.config import train as recipe
from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.loading import load_splits
from diffcore_hf.training.data.columns import Columns, name_columns, read_manifest, require
from diffcore_hf.training.data.epoch_layout import EpochLayout, lay_out_epoch
from diffcore_hf.training.data.pool import Pool, column, has_image, undecoded

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

log = logging.getLogger(__name__)

VALIDATION_NAMES = ("validation", "val", "valid", "dev")


@dataclass(frozen=True)
class Split:
    """Rows that can be trained on or scored."""

    name: str
    rows: Dataset
    """Undecoded image columns alone, in arrow format."""
    labels: np.ndarray
    """(N,) int64, places in the classes."""
    row_ids: Sequence[str]
    derived: np.ndarray
    """(N,) bool: not a real image but made of one (layouts rows and mixed); never held out to be scored."""
    groups: Sequence[str] | None = None
    """(N,) values of the column `data.group`; None where it was not asked for."""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, places: np.ndarray, name: str | None = None) -> Split:
        """Some of the rows."""
        ids = [self.row_ids[place] for place in places]
        groups = None if self.groups is None else [self.groups[place] for place in places]
        rows = self.rows.select(places)
        return Split(name or self.name, rows, self.labels[places], ids, self.derived[places], groups)


@dataclass(frozen=True)
class TrainingData:
    """All that a training reads."""

    train: Split
    validation: Split | None
    """By which the best checkpoint is chosen; None: only the last one is scored."""
    test: Split
    """What is scored at the end."""
    classes: tuple[str, ...]
    columns: Columns
    pool: Pool | None
    """Config `generated`, by class; None where there is none, or it is not needed."""
    has_counterpart: np.ndarray
    """(N,) bool, of the training rows."""
    layout: EpochLayout
    """Samples of an epoch in the recipe's mode, built once."""
    asked: float
    """Share of the training rows that were to get a counterpart."""
    identity: Mapping[str, Any]
    """What the data is, wherever it lies."""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the result should know."""


def load_data(config: recipe.Data, mix: recipe.Mix) -> TrainingData:
    """Load and check the data of a recipe.

    Args:
        config: where it is.
        mix: what is needed of it: the column of counterparts, a pool, or neither.

    Raises:
        UserError: one line for a missing dataset, split or column, for originals that were left out, and for a pool
            that is not there.
    """
    splits, commit = load_splits(config.path, config.name, None, config.revision, section="data")
    manifest = read_manifest(config.path, commit)
    if config.train not in splits:
        raise UserError(f"data.train is {config.train!r}, which {config.path} does not have; its splits: "
                         f"{', '.join(splits)}. Use --data.train")  # fmt: skip
    there = splits[config.train].column_names
    names = name_columns(there, manifest, image=config.image, generated=config.generated, label=config.label)
    mixes = mix.mode != "off"
    needs_own = mixes and mix.partner == "own"
    require(there, names, ("image", "label", "generated") if needs_own else ("image", "label"), config.path)
    classes, encode = _classes(splits[config.train], names, config.path)
    if len(classes) < 2:
        raise UserError(f"{config.path} has {len(classes)} class in {names.label!r}: there is nothing to tell apart. "
                         "Use --data.label")  # fmt: skip
    notes: list[str] = []
    whole: Split | None = None

    def take(name: str) -> Split:
        return _split(splits[name], name, names, encode, config, notes)

    train = take(config.train)
    others = [name for name in splits if name != config.train]
    wanted = {
        "validation": _named(config.validation, VALIDATION_NAMES, others, splits, "validation"),
        "test": _named(config.test, ("test",), others, splits, "test"),
    }
    _check_apart(config.train, wanted)
    validation = take(wanted["validation"]) if wanted["validation"] else None
    test = take(wanted["test"]) if wanted["test"] else None
    if validation is None and test is None:
        whole = train
        kept, out = holdout(train, config.holdout)
        if not len(out):
            raise UserError(f"{config.path} has no split to score on, and data.holdout {config.holdout:g} leaves "
                             "none. Use e.g. --data.holdout 0.2")  # fmt: skip
        test, train = train.select(out, "holdout"), train.select(kept)
        notes.append(
            f"{len(out)} of {len(out) + len(kept)} images were held out of training, by class, to be scored. Where "
            "their classes' thresholds were made, they may have been among the references"
        )
    elif test is None:
        # What chose a checkpoint may not score it.
        validation, test = None, validation
    if config.group and test.groups is None:
        scored = splits[wanted["test"] or wanted["validation"] or config.train].column_names
        raise UserError(
            f"data.group is {config.group!r}, which split {test.name!r} of {config.path} does not have; its columns: "
            f"{', '.join(scored)}. Use --data.group"
        )
    has = has_image(train.rows, names.generated) if needs_own else np.zeros(len(train), bool)
    pool = None
    if mixes and mix.partner == "class":
        left_out = set(whole.row_ids) - set(train.row_ids) if whole is not None else set()
        pool = _pool(config, commit, names, encode, left_out)
    if mixes and mix.partner == "real_same_class":
        pool = Pool(train.rows, names, without_self=True, labels=train.labels, row_ids=train.row_ids)
    layout = lay_out_epoch(mix.mode, has if pool is None else pool.serves_each(train.labels.tolist(), train.row_ids))
    return TrainingData(
        train, validation, test, classes, names, pool, has, layout, _asked(manifest),
        _identity(config, commit, manifest, splits), tuple(notes),
    )  # fmt: skip


def holdout(split: Split, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Places that stay and places held out: of each class the first `share` in the order of their seeded hashes.

    At least one of a class with two rows or more, never all; the same whatever the seed of a training. Images that
    were made of a row that is held out are neither trained on nor scored.
    """
    out: list[int] = []
    for label in np.unique(split.labels):
        places = np.flatnonzero((split.labels == label) & ~split.derived)
        count = min(max(1, round(share * len(places))), len(places) - 1) if share > 0 else 0
        out += sorted(places, key=lambda place: seeding.uniform("holdout", split.row_ids[place]))[:count]
    held = {split.row_ids[place] for place in out}
    kept = [place for place, row_id in enumerate(split.row_ids) if row_id not in held]
    return np.array(kept, np.int64), np.array(sorted(out), np.int64)


def _check_apart(train: str, wanted: Mapping[str, str | None]) -> None:
    """Raise UserError where a model would be scored on what it was trained on, or chosen on what scores it."""
    for key, name in wanted.items():
        if name == train:
            raise UserError(f"data.{key} is {name!r}, which is trained on. Name another split, or null")
    if wanted["validation"] and wanted["validation"] == wanted["test"]:
        raise UserError(
            f"data.validation and data.test are both {wanted['test']!r}: what chooses a model may not score it. "
            "Use --data.validation null"
        )


def _named(said: str | None, usual: Sequence[str], others: Sequence[str], splits: DatasetDict, key: str) -> str | None:
    if said == "auto":
        return next((name for name in usual if name in others), None)
    if said is not None and said not in splits:
        raise UserError(f"data.{key} is {said!r}, which the data does not have; its splits: {', '.join(splits)}. "
                         f"Use --data.{key}, or null")  # fmt: skip
    return said


def _classes(rows: Dataset, names: Columns, path: str) -> tuple[tuple[str, ...], Mapping[Any, int]]:
    """Class names and the place of each label value."""
    from datasets import ClassLabel, Value

    feature = rows.features[names.label]
    if isinstance(feature, ClassLabel):
        return tuple(feature.names), {place: place for place in range(len(feature.names))}
    if not (isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "string", "large_string"))):
        raise UserError(f"column {names.label!r} of {path} holds {feature}, not one class a row. Use --data.label")
    values = sorted({value for value in column(rows, names.label) if value not in (None, "", -1)})
    return tuple(map(str, values)), {value: place for place, value in enumerate(values)}


def _split(
    rows: Dataset, name: str, names: Columns, encode: Mapping[Any, int], config: recipe.Data, notes: list[str]
) -> Split:
    """A split without the rows that have no image or no label; how many is noted."""
    path = config.path
    raw = column(rows, names.label)
    labels = np.array([encode.get(value, -1) for value in raw], np.int64).reshape(-1)
    has_real = has_image(rows, names.image)
    if len(rows) and not has_real.any():
        raise UserError(
            f"split {name!r} of {path} was published without its original images. Put them back with join_originals, "
            "then train on the result"
        )
    good = (labels >= 0) & has_real
    if names.row_id in rows.column_names and names.prefix + "status" in rows.column_names:
        good &= np.array([status != "failed" for status in column(rows, names.prefix + "status")], bool)
    if not good.any():
        raise UserError(
            f"split {name!r} of {path} has no row with an image and a known label. Name another split, or --data.label"
        )
    if lost := int((~good).sum()):
        notes.append(f"{lost} of {len(rows)} rows of split {name} have no image, or no known label, and are left out")
    has_ids = names.row_id in rows.column_names
    ids = column(rows, names.row_id) if has_ids else [f"{name}/{place}" for place in range(len(rows))]
    derived = np.zeros(len(rows), bool)
    for name_of_flag in ("is_generated", "is_mixed"):
        if name_of_flag in rows.column_names:
            derived |= np.array(column(rows, name_of_flag), bool)
    images = [n for n in (names.image, names.generated) if n in rows.column_names]
    stored = undecoded(rows, *images).select_columns(images).with_format("arrow")
    known = config.group in rows.column_names
    groups = [str(value) for value in column(rows, config.group)] if known else None
    return Split(name, stored, labels, ids, derived, groups).select(np.flatnonzero(good))


def _pool(
    config: recipe.Data, commit: str | None, names: Columns, encode: Mapping[Any, int], left_out: Set[str]
) -> Pool:
    """Config `generated`: every kept image of any copy, by class; without those made for rows that are held out."""
    try:
        rows = load_splits(config.path, "generated", None, commit or config.revision, section="data")[0]["train"]
    except ValueError as error:
        raise UserError(
            f"mix.partner is 'class', which reads config 'generated', and {config.path} has none that loads. Use "
            "--mix.partner own"
        ) from error
    if left_out:
        rows = rows.select([place for place, row_id in enumerate(column(rows, "row_id")) if row_id not in left_out])
    labels = np.array([encode.get(value, -1) for value in column(rows, names.label)], np.int64)
    return Pool(rows, replace(names, row_id="row_id"), without_self=False, labels=labels)


def _asked(manifest: Mapping[str, Any] | None) -> float:
    return float((manifest or {}).get("recipe", {}).get("fraction", 1.0))


def _identity(
    config: recipe.Data, commit: str | None, manifest: Mapping[str, Any] | None, splits: DatasetDict
) -> dict[str, Any]:
    """What the data is; of a local path only its last part is anybody's business."""
    return {
        "path": config.path if commit else f"local:{Path(config.path).resolve().name}",
        "commit": commit,
        "recipe_digest": (manifest or {}).get("recipe_digest"),
        "hash": (manifest or {}).get("hash"),
        "rows": {name: len(rows) for name, rows in splits.items()},
    }
