"""A dataset of the miniature world: twenty species, each seen in two contexts, tested in all ten.

Owns which pictures a world has and how they become a folder of Parquet files that `load_dataset` reads. The pictures
are renderer.py's.
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
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, Species

if TYPE_CHECKING:
    from datasets import Dataset

# What a recipe's prompts may name; the other four are never mentioned, so accuracy there shows what carries over.
PROMPTED_CONTEXTS = ("in heavy snow", "in the rain", "at sunset", "in a forest", "at night", "by the ocean")
SPLITS = ("train", "validation", "test")
_IMAGES = {"train": 12, "validation": 5, "test": 100}  # pictures of a species


@dataclass(frozen=True)
class Picture:
    """One picture to be: what it shows, and its own seed."""

    species: Species
    context: str
    seed: tuple[int, ...]


@dataclass(frozen=True)
class World:
    """One draw of the dataset.

    Attributes:
        seed: decides contexts and pictures; the species look the same under every seed.
        contexts: "own" draws two contexts for each species, so that context and class are confounded as in
            photographs; "shared" shows all species in the same two.
    """

    seed: int = 0
    contexts: str = "own"

    def __post_init__(self) -> None:
        if self.contexts not in ("own", "shared"):
            raise UserError(f"contexts is {self.contexts!r}: use 'own' or 'shared'")
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}: use 0 or more")

    def training_contexts(self) -> dict[Species, tuple[str, str]]:
        """The two contexts in which training and validation pictures show each species."""
        rng = np.random.default_rng([self.seed, 1])
        drawn = [
            tuple(CONTEXTS[i] for i in sorted(rng.choice(len(CONTEXTS), 2, replace=False))) for _ in DATASET_SPECIES
        ]
        return dict(zip(DATASET_SPECIES, drawn if self.contexts == "own" else drawn[:1] * len(drawn), strict=True))

    def pictures(self, split: str) -> list[Picture]:
        """The split's pictures in order: species by species, its contexts in turn."""
        seen = self.training_contexts()
        return [
            Picture(species, contexts[i % len(contexts)], (self.seed, 2 + SPLITS.index(split), species.id, i))
            for species in DATASET_SPECIES
            for contexts in [CONTEXTS if split == "test" else seen[species]]
            for i in range(_IMAGES[split])
        ]

    def split(self, split: str) -> Dataset:
        """The split as rendered_rows."""
        return rendered_rows(self.pictures(split))


def rendered_rows(pictures: Sequence[Picture]) -> Dataset:
    """Pictures as rows: `image` (PNG bytes), `label` (names as in CUB), `scene` (the context drawn)."""
    from datasets import ClassLabel, Dataset, Features, Image, Value

    places = {species: place for place, species in enumerate(DATASET_SPECIES)}
    names = [f"{place + 1:03d}.{s.name.replace(' ', '_')}" for s, place in places.items()]
    columns = {
        "image": [{"bytes": _png(picture), "path": None} for picture in pictures],
        "label": [places[picture.species] for picture in pictures],
        "scene": [picture.context for picture in pictures],
    }
    features = Features({"image": Image(), "label": ClassLabel(names=names), "scene": Value("string")})
    return Dataset.from_dict(columns, features=features)


def write_dataset(directory: str | Path, world: World) -> Path:
    """Render the world into `directory/data/<split>-<hash>.parquet`; `load_dataset(directory)` needs no network.

    The folder is there whole or not at all, and equal worlds give equal bytes.

    Returns:
        The directory.

    Raises:
        UserError: the directory exists and is not empty, or is a file.
    """
    directory = Path(directory)
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not empty: name another folder or remove it")
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        (beside / "data").mkdir()
        files = {split: _write_split(world, split, beside) for split in SPLITS}
        (beside / "README.md").write_text(_card(world, files))
        beside.chmod(0o755)
        os.replace(beside, directory)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return directory


def _write_split(world: World, split: str, folder: Path) -> str:
    """The path of the split's file inside the folder.

    The hash in the name: the cache of `datasets` knows a local folder with a card by the names of its files alone.
    """
    path = folder / "data" / f"{split}.parquet"
    world.split(split).to_parquet(path)
    named = path.with_name(f"{split}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.parquet")
    path.rename(named)
    return f"data/{named.name}"


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    render(picture.species, picture.context, np.random.default_rng(picture.seed)).save(buffer, "PNG")
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
