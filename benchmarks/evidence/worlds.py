"""Worlds: the rendered datasets that the evidence is measured on, one draw for each seed.

Owns their columns beside those of the miniature: which of three groups a picture belongs to, and, for generators that
do not obey, whose name is written into the prompt in place of the right one.
"""

from __future__ import annotations

import fcntl
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
"""Training pictures of a species."""
WRONG = 0.3
"""Share of the rows whose prompt names another species, in the generators that do not obey."""


def world_folder(work: Path, seed: int, each: int = EACH, extra: str = "none") -> Path:
    """A dataset of own contexts as a folder of Parquet, rendered where it is not there.

    Args:
        work: folder for what is made on the way.
        seed: draws contexts and pictures.
        each: training pictures of a species, the first of the world's.
        extra: 36 more real pictures of each species, in its `seen` contexts or in `all` ten; or `none`.
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
    """One process at a time makes what lies at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def group(world: World, picture: Picture) -> str:
    """Which of the three groups a picture belongs to; a training context of the species is its own, prompted or not."""
    if picture.context in world.training_contexts()[picture.species]:
        return OWN
    return PROMPTED if picture.context in PROMPTED_CONTEXTS else UNMENTIONED


def _first(pictures: Sequence[Picture], each: int) -> list[Picture]:
    by_species: dict[Species, list[Picture]] = {}
    for picture in pictures:
        by_species.setdefault(picture.species, []).append(picture)
    return [picture for of_one in by_species.values() for picture in of_one[:each]]


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
