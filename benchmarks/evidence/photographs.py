"""Photographs: small training sets drawn from a folder of photographs, with other real photographs as counterparts.

A held-back photograph of the class is used as a perfect counterpart. Owns the draw of the training images and the
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

from benchmarks.evidence.photo_quality import LEVELS, PERFECT, QUALITIES, accepted, degraded, distance, wrong_rows
from benchmarks.evidence.photo_tower import embedded
from benchmarks.evidence.worlds import locked
from diffcore_hf.core.dataset_columns import column_values, undecoded
from diffcore_hf.core.image_files import ImageFiles
from diffcore_hf.core.image_roots import files_of
from diffcore_hf.core.images import read_bytes
from diffcore_hf.core.loading import load_splits
from diffcore_hf.core.seeding import generator
from diffcore_hf.training.data.training_data import VALIDATION_NAMES

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

EACH = 10
"""Number of real training images of a class, and of counterparts of a class."""
HELD_OUT = 0.2
"""Share of each class that is scored if the data has no split for it."""


@dataclass(frozen=True)
class Draw:
    """The rows of a training split that are drawn with one seed."""

    real: list[int]
    """Row of each real training image."""
    counterparts: list[int]
    """Row of the counterpart of each real image, in the same order."""


def draw(labels: Sequence[int], seed: int, each: int = EACH) -> Draw:
    """Draws `each` real images of every class and, without overlap, as many counterparts of the same class.

    If a class has fewer than 2 * `each` images, half of its images are real images and half are counterparts.
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


def photo_folder(
    work: Path, data: Path, seed: int, each: int = EACH, most: int | None = None, quality: str = PERFECT
) -> Path:
    """Returns a dataset of columns image, generated and label as a folder of Parquet; writes it if it does not exist.

    Args:
        work: folder of intermediate files.
        data: folder that `load_dataset` reads: Parquet files, or images in one sub-folder for each class.
        seed: draws the training images and their counterparts.
        each: real training images of a class.
        most: largest number of images in a scored split; None: all of them.
        quality: quality of the counterparts, a key of QUALITIES.
    """
    folder = work / "photographs" / f"{data.name}-{each}-{'' if quality == PERFECT else f'{quality}-'}{seed}"
    with locked(folder):
        if not folder.is_dir():
            splits = scored_splits(load_splits(str(data), None, None, None, section="data")[0])
            files = files_of(str(data))
            beside = folder.with_name(f".{folder.name}")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for name in ("validation", "test"):
                with_bytes(_at_most(splits[name], most, name), files).to_parquet(beside / f"{name}.parquet")
            rows = _paired(work, splits["train"], seed, each, files, quality)
            rows.to_parquet(beside / "train.parquet")
            os.replace(beside, folder)
    return folder


def scored_splits(splits: DatasetDict) -> dict[str, Dataset]:
    """Returns the splits train, validation and test with undecoded images and their labels.

    A split that the data does not have is held out from the training split: a share of each class for the test, then
    the same share of the rest for validation. The rows are the same for every seed.

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
    for name in ("test", "validation"):
        if name not in found:
            kept, scored = _divided(column_values(found["train"], "label"), name)
            found |= {name: found["train"].select(scored), "train": found["train"].select(kept)}
    return found


def _at_most(rows: Dataset, most: int | None, name: str) -> Dataset:
    """Returns the rows. If there are more than `most`, it returns `most` of them, which do not depend on the seed."""
    if most is None or len(rows) <= most:
        return rows
    return rows.select(sorted(generator("photographs", name, most).permutation(len(rows))[:most].tolist()))


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


def measured_distance(work: Path, folder: Path) -> dict[str, Any]:
    """Returns the distance of the counterparts in a folder from its real images, and the share that is rejected."""
    from datasets import load_dataset

    labels, real, generated, classes = _embedded_pairs(work, load_dataset(str(folder), split="train"))
    rejected = ~accepted(labels, real, generated, classes)
    return {"distance": distance(labels, real, generated), "rejected": float(rejected.mean()), "images": len(labels)}


def _paired(work: Path, train: Dataset, seed: int, each: int, files: ImageFiles, name: str) -> Dataset:
    labels, quality = column_values(train, "label"), QUALITIES[name]
    drawn = draw(labels, seed, each)
    real = train.select(drawn.real)
    rows = wrong_rows(labels, drawn.real, drawn.counterparts, quality.wrong, seed)
    cells = column_values(train.select(rows), "image")
    if quality.level:
        random = generator("photographs", "degraded", seed)
        worse = [degraded(read_bytes(cell, files), LEVELS[quality.level], random) for cell in cells]
        cells = [{"bytes": content, "path": None} for content in worse]
    if quality.keep == "all":
        return with_bytes(real, files, cells)
    if quality.keep == "filter":
        kept = accepted(*_embedded_pairs(work, with_bytes(real, files, cells))).tolist()
    else:
        kept = [labels[row] == labels[own] for row, own in zip(rows, drawn.real, strict=True)]
    return with_bytes(real, files, [cell if keep else None for cell, keep in zip(cells, kept, strict=True)])


def _embedded_pairs(work: Path, rows: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Returns labels, the embeddings of the real images and of the counterparts, and the number of classes."""
    rows = undecoded(rows, "image", "generated")
    real, generated = (embedded(work, column_values(rows, name)) for name in ("image", "generated"))
    return np.array(column_values(rows, "label")), real, generated, rows.features["label"].num_classes


def with_bytes(rows: Dataset, files: ImageFiles, generated: Sequence[Any] | None = None) -> Dataset:
    """Returns rows that contain the bytes of their images, because a path is valid only on this machine."""
    from datasets import Dataset, Features, Image

    columns = {"image": column_values(rows, "image"), **({} if generated is None else {"generated": generated})}
    cells = {name: [_stored(cell, files) for cell in column] for name, column in columns.items()}
    features = Features({**dict.fromkeys(cells, Image()), "label": rows.features["label"]})
    return Dataset.from_dict({**cells, "label": column_values(rows, "label")}, features=features)


def _stored(cell: Any, files: ImageFiles) -> dict[str, Any] | None:
    return None if cell is None else {"bytes": read_bytes(cell, files), "path": None}
