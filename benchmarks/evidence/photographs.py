"""Photographs: small training sets drawn from a folder of photographs, with other real photographs as counterparts.

A held-back photograph of the class stands for a perfect counterpart. Owns the draw of the training images and the
folder that a training reads. The validation and test images are the same for every seed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.evidence.worlds import locked
from diffcore_hf.core.dataset_columns import column_values, undecoded
from diffcore_hf.core.loading import load_splits
from diffcore_hf.core.seeding import generator
from diffcore_hf.training.data.training_data import VALIDATION_NAMES

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

EACH = 10
"""Real training images of a class, and as many counterparts."""
HELD_OUT = 0.2
"""Share of each class that is scored if the data has no split for it."""


@dataclass(frozen=True)
class Draw:
    """The rows of a training split that one seed draws."""

    real: list[int]
    counterparts: list[int]
    """The counterpart of each real image."""


def draw(labels: Sequence[int], seed: int, each: int = EACH) -> Draw:
    """Draws `each` real images of every class and, without overlap, as many counterparts of the same class.

    A class with fewer than twice as many images gives half of them.
    """
    by_class: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        by_class.setdefault(label, []).append(row)
    real: list[int] = []
    counterparts: list[int] = []
    for label in sorted(by_class):
        rows = generator("photographs", seed, label).permutation(by_class[label]).tolist()
        count = min(each, len(rows) // 2)
        real += rows[:count]
        counterparts += rows[count : 2 * count]
    return Draw(real, counterparts)


def photo_folder(work: Path, data: Path, seed: int, each: int = EACH) -> Path:
    """Returns a dataset of columns image, generated and label as a folder of Parquet; writes it if it does not exist.

    Args:
        work: folder of intermediate files.
        data: folder that `load_dataset` reads: Parquet files, or images in one sub-folder for each class.
        seed: draws the training images and their counterparts.
        each: real training images of a class.
    """
    folder = work / "photographs" / f"{data.name}-{each}-{seed}"
    with locked(folder):
        if not folder.is_dir():
            splits = scored_splits(load_splits(str(data), None, None, None, section="data")[0])
            beside = folder.with_name(f".{folder.name}")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for name in ("validation", "test"):
                splits[name].to_parquet(beside / f"{name}.parquet")
            _paired(splits["train"], draw(splits["train"]["label"][:], seed, each)).to_parquet(beside / "train.parquet")
            os.replace(beside, folder)
    return folder


def scored_splits(splits: DatasetDict) -> dict[str, Dataset]:
    """Returns the splits train, validation and test with undecoded images and their labels.

    A split that the data does not have is held out from the training split: of each class the same share for each of
    the two, the same rows for every seed.

    Raises:
        SystemExit: the data has no split `train`, or its columns are not image and label.
    """
    if "train" not in splits or not {"image", "label"} <= set(splits["train"].column_names):
        raise SystemExit("the data needs a split 'train' with columns image and label; a folder of images has these")
    rows = {name: undecoded(split.select_columns(["image", "label"]), "image") for name, split in splits.items()}
    validation = next((name for name in VALIDATION_NAMES if name in rows), None)
    found = {"train": rows["train"]}
    if validation:
        found["validation"] = rows[validation]
    if "test" in rows:
        found["test"] = rows["test"]
    for name in ("validation", "test"):
        if name not in found:
            kept, scored = _divided(column_values(found["train"], "label"), name)
            found |= {name: found["train"].select(scored), "train": found["train"].select(kept)}
    return found


def _divided(labels: Sequence[Any], name: str) -> tuple[list[int], list[int]]:
    """Returns the rows that remain and those that are held out, a share of each class."""
    by_class: dict[Any, list[int]] = {}
    for row, label in enumerate(labels):
        by_class.setdefault(label, []).append(row)
    held: set[int] = set()
    for label, rows in by_class.items():
        order = generator("photographs", name, str(label)).permutation(rows).tolist()
        held.update(order[: max(1, round(HELD_OUT * len(rows)))])
    return [row for row in range(len(labels)) if row not in held], sorted(held)


def _paired(train: Dataset, drawn: Draw) -> Dataset:
    from datasets import Image

    generated = train.select(drawn.counterparts)
    rows = train.select(drawn.real).add_column("generated", column_values(generated, "image"))
    return rows.cast_column("generated", Image()).cast_column("image", Image())


def counts(labels: Sequence[int]) -> tuple[int, int]:
    """Returns the smallest and the largest number of images of a class."""
    numbers = np.bincount(np.asarray(labels))
    return int(numbers.min()), int(numbers.max())
