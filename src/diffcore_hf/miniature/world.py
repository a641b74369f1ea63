"""World: the dataset of the miniature world with twenty species.

Each species is shown in two contexts for training and in all ten contexts for the test. Owns the list of pictures, and
the folder of Parquet files that `load_dataset` reads. Pictures are drawn by renderer.py.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffcore_hf.core.errors import UserError
from diffcore_hf.miniature.difficulty import EASY, Difficulty, neighbour
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, Species

if TYPE_CHECKING:
    from datasets import Dataset

# The contexts that the prompts of a recipe may name. The accuracy in the other four measures generalisation.
PROMPTED_CONTEXTS = ("in heavy snow", "in the rain", "at sunset", "in a forest", "at night", "by the ocean")
SPLITS = ("train", "validation", "test")
_IMAGES = {"train": 12, "validation": 5, "test": 100}
"""Number of pictures of each species, by split."""


@dataclass(frozen=True)
class Picture:
    """The description of a picture that is not rendered yet: species, context and seed."""

    species: Species
    context: str
    seed: tuple[int, ...]


@dataclass(frozen=True)
class World:
    """The dataset of one seed and one choice of contexts. Nothing is rendered yet.

    Attributes:
        seed: seed of the contexts and pictures; the species do not depend on it.
        contexts: `own`: each species has its own two contexts, so that context and class are correlated, as in
            photographs. `pairs`: the two species of a similar pair have the same two contexts, so that a context does
            not separate them. `shared`: all species have the same two contexts.
        difficulty: how hard the pictures are to classify.
    """

    seed: int = 0
    contexts: str = "own"
    difficulty: Difficulty = EASY

    def __post_init__(self) -> None:
        if self.contexts not in ("own", "pairs", "shared"):
            raise UserError(f"contexts is {self.contexts!r}: use 'own', 'pairs' or 'shared'")
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}: use 0 or more")

    def training_contexts(self) -> dict[Species, tuple[str, str]]:
        """Returns the two contexts in which training and validation pictures show each species."""
        rng = np.random.default_rng([self.seed, 1])
        drawn = {species: _two_contexts(rng) for species in DATASET_SPECIES}
        if self.contexts == "own":
            return drawn
        if self.contexts == "pairs":
            return {species: drawn[min(species, neighbour(species), key=lambda each: each.id)] for species in drawn}
        return dict.fromkeys(DATASET_SPECIES, drawn[DATASET_SPECIES[0]])

    def pictures(self, split: str) -> list[Picture]:
        """Returns the pictures of a split in order of the species; the contexts of a species alternate."""
        training_contexts = self.training_contexts()
        pictures = []
        for species in DATASET_SPECIES:
            contexts = CONTEXTS if split == "test" else training_contexts[species]
            for number in range(_IMAGES[split]):
                seed = (self.seed, 2 + SPLITS.index(split), species.id, number)
                pictures.append(Picture(species, contexts[number % len(contexts)], seed))
        return pictures

    def split(self, split: str) -> Dataset:
        """Renders a split as a dataset."""
        return rendered_rows(self.pictures(split), self.difficulty)


def _two_contexts(rng: np.random.Generator) -> tuple[str, str]:
    first, second = sorted(rng.choice(len(CONTEXTS), 2, replace=False))
    return CONTEXTS[first], CONTEXTS[second]


def rendered_rows(pictures: Sequence[Picture], difficulty: Difficulty = EASY) -> Dataset:
    """Renders pictures as rows with `image` (PNG bytes), `label` (named as in CUB) and `scene` (the context)."""
    from datasets import ClassLabel, Dataset, Features, Image, Value

    labels = {species: label for label, species in enumerate(DATASET_SPECIES)}
    names = [f"{label + 1:03d}.{species.name.replace(' ', '_')}" for species, label in labels.items()]
    columns = {
        "image": [{"bytes": _png(picture, difficulty), "path": None} for picture in pictures],
        "label": [labels[picture.species] for picture in pictures],
        "scene": [picture.context for picture in pictures],
    }
    features = Features({"image": Image(), "label": ClassLabel(names=names), "scene": Value("string")})
    return Dataset.from_dict(columns, features=features)


def write_dataset(directory: str | Path, world: World) -> Path:
    """Renders the world into `directory/data/<split>-<hash>.parquet`; `load_dataset(directory)` needs no network.

    An interrupted call leaves no folder, and equal worlds give equal bytes.

    Returns:
        The directory.

    Raises:
        UserError: the directory exists and is not empty, or is a file.
    """
    directory = Path(directory)
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not empty: name another folder or remove it")
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        (staging / "data").mkdir()
        files = {split: _write_split(world, split, staging) for split in SPLITS}
        (staging / "README.md").write_text(_card(world, files))
        staging.chmod(0o755)
        os.replace(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return directory


def _write_split(world: World, split: str, folder: Path) -> str:
    """Writes a split and returns its path in the folder.

    The file name contains the hash of the content, because the cache of `datasets` identifies a local folder that has a
    card only by the names of its files.
    """
    path = folder / "data" / f"{split}.parquet"
    world.split(split).to_parquet(path)
    name = f"{split}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.parquet"
    path.rename(path.with_name(name))
    return f"data/{name}"


def _png(picture: Picture, difficulty: Difficulty) -> bytes:
    buffer = io.BytesIO()
    rng = np.random.default_rng(picture.seed)
    render(picture.species, picture.context, rng, difficulty=difficulty).save(buffer, "PNG")
    return buffer.getvalue()


def _card(world: World, paths: dict[str, str]) -> str:
    files = "\n".join(f"  - split: {split}\n    path: {path}" for split, path in paths.items())
    return f"""---
license: apache-2.0
task_categories:
- image-classification
tags:
- synthetic
configs:
- config_name: default
  data_files:
{files}
---
# Miniature birds

Rendered birds, 64x64: {len(DATASET_SPECIES)} invented species. Training and validation pictures show each species in
two contexts ({world.contexts}, seed {world.seed}), test pictures in all {len(CONTEXTS)}.
`scene` names a picture's context.
"""
