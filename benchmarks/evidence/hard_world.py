"""The hard world: rendered birds that a network without generated images classifies with many errors.

Owns the dataset of one seed: its pictures, the groups of its test images, and real counterparts. Two similar species
have the same two training contexts, so a context does not separate them. The difficulty of the pictures is an option of
the renderer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.evidence.worlds import EACH, group, locked
from diffcore_hf.miniature.difficulty import HARD, Difficulty
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES
from diffcore_hf.miniature.world import Picture, World, rendered_rows

if TYPE_CHECKING:
    from datasets import Dataset

LEVELS: Mapping[str, Difficulty] = {
    "slight": Difficulty(size=0.8, shift=0.06, fade=0.4, leaves=3, noise=8.0),
    "hard": HARD,
    "harder": Difficulty(size=0.62, shift=0.12, fade=0.72, leaves=5, noise=16.0),
}
"""The difficulties that were tried. The hard world has one of them."""
OWN_EACH, OTHER_EACH, VALIDATION_EACH = 60, 5, 10
"""Numbers of images of a species: test images in its training contexts, test images in each other context, and
validation images."""
_TEST, _VALIDATION, _COUNTERPARTS = 11, 12, 13


def hard_folder(work: Path, seed: int, *, counterparts: bool = False, difficulty: Difficulty = HARD) -> Path:
    """Returns a folder of Parquet files with the hard world of a seed. If it does not exist, it is rendered first.

    Args:
        work: folder of intermediate files.
        seed: seed of the contexts and the images.
        counterparts: whether each training image has a counterpart, which is another real image of its species in one
            of its two contexts.
        difficulty: difficulty of the pictures.
    """
    from datasets import concatenate_datasets

    world = World(seed, "pairs", difficulty)
    level = next(name for name, known in LEVELS.items() if known == difficulty)
    folder = work / "birds" / f"{level}-{seed}{'-counterparts' if counterparts else ''}"
    with locked(folder):
        if not folder.is_dir():
            beside = folder.with_name(f".{folder.name}")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for split in ("train", "validation", "test"):
                rows = _rows(world, split)
                if counterparts and split == "train":
                    others = _rows(world, "counterparts").select_columns(["image"]).rename_column("image", "generated")
                    rows = concatenate_datasets([rows, others], axis=1)
                rows.to_parquet(beside / f"{split}.parquet")
            os.replace(beside, folder)
    return folder


def pictures(world: World, split: str) -> list[Picture]:
    """Returns the pictures of a split in order of the species."""
    if split == "train":
        return world.pictures(split)
    found = []
    for label, own in enumerate(world.training_contexts().values()):
        for number, context in enumerate(_contexts(split, own)):
            code = {"test": _TEST, "validation": _VALIDATION, "counterparts": _COUNTERPARTS}[split]
            species = DATASET_SPECIES[label]
            found.append(Picture(species, context, (world.seed, code, species.id, number)))
    return found


def _contexts(split: str, own: tuple[str, str]) -> Iterator[str]:
    """Yields the context of each picture of a species in a split."""
    each = {"test": OWN_EACH, "validation": VALIDATION_EACH, "counterparts": EACH}[split]
    for number in range(each):
        yield own[number % len(own)]
    if split == "test":
        for context in CONTEXTS:
            if context not in own:
                yield from [context] * OTHER_EACH


def _rows(world: World, split: str) -> Dataset:
    drawn = pictures(world, split)
    rows = rendered_rows(drawn, world.difficulty)
    return rows.add_column("group", [group(world, picture) for picture in drawn])
