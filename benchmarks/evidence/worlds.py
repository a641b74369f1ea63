"""Worlds: the rendered datasets of the evidence, one for each seed.

Owns the columns that these datasets have in addition to those of the miniature world: the group of an image, and the
names in the prompts of generators that draw wrong species.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.core.seeding import generator
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, Species, look_alike
from diffcore_hf.miniature.world import PROMPTED_CONTEXTS, SPLITS, Picture, World, rendered_rows

if TYPE_CHECKING:
    from datasets import Dataset

OWN, PROMPTED, UNMENTIONED = "own", "prompted", "never mentioned"
EACH = 12
"""Number of training images of a species."""
WRONG = 0.3
"""Share of the rows whose prompt names another species, for generators that draw wrong species."""


def world_folder(work: Path, seed: int, each: int = EACH, extra: str = "none") -> Path:
    """Returns a folder of Parquet files with a dataset in which each species has its own two contexts.

    If the folder does not exist, the dataset is rendered first.

    Args:
        work: folder of intermediate files.
        seed: seed of the contexts and the images.
        each: number of training images of a species.
        extra: `seen` adds 36 real images of each species in its training contexts, `all` adds 36 in all ten contexts,
            and `none` adds no images.
    """
    folder = work / "birds" / f"{seed}-{each}-{extra}"
    with locked(folder):
        if not folder.is_dir():
            world = World(seed)
            beside = folder.with_name(f".{folder.name}")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for split in SPLITS:
                pictures = world.pictures(split)
                if split == "train":
                    pictures = [*_first(pictures, each), *_more(world, extra)]
                _columns(world, pictures).to_parquet(beside / f"{split}.parquet")
            os.replace(beside, folder)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks a path, so that only one process at a time creates it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def group(world: World, picture: Picture) -> str:
    """Returns the group of an image. A training context of its species gives the group `own`, prompted or not."""
    if picture.context in world.training_contexts()[picture.species]:
        return OWN
    return PROMPTED if picture.context in PROMPTED_CONTEXTS else UNMENTIONED


def _first(pictures: Sequence[Picture], each: int) -> list[Picture]:
    by_species: dict[Species, list[Picture]] = {}
    for picture in pictures:
        by_species.setdefault(picture.species, []).append(picture)
    return list(itertools.chain.from_iterable(of_species[:each] for of_species in by_species.values()))


def _more(world: World, extra: str) -> list[Picture]:
    if extra == "none":
        return []
    places = {"seen": world.training_contexts(), "all": dict.fromkeys(DATASET_SPECIES, CONTEXTS)}[extra]
    return [
        Picture(species, places[species][i % len(places[species])], (world.seed, 9, species.id, i))
        for species in DATASET_SPECIES
        for i in range(3 * EACH)
    ]


def _columns(world: World, pictures: Sequence[Picture]) -> Dataset:
    rows = rendered_rows(pictures)
    random = generator("evidence", "names", world.seed)
    named: dict[str, list[str]] = {"drawn_random": [], "drawn_alike": []}
    for picture in pictures:
        others = [other for other in DATASET_SPECIES if other != picture.species]
        other, wrong = others[random.integers(len(others))], random.random() < WRONG
        named["drawn_random"].append((other if wrong else picture.species).name)
        named["drawn_alike"].append((look_alike(picture.species) if wrong else picture.species).name)
    rows = rows.add_column("group", [group(world, picture) for picture in pictures])
    for name, values in named.items():
        rows = rows.add_column(name, values)
    return rows
