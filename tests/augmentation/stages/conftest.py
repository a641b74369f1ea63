"""Fixtures for the tests of stages: sections of a recipe, photographs, and planned rows."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
import tiny_towers
from datasets import Dataset, Features, Image, Value

from diffcore_hf.config.augment import FilterConfig, ModelConfig, Recipe, SourceConfig
from diffcore_hf.core import images

SIZES = [(40, 30), (24, 24), (60, 33), (31, 64)]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Returns the recipe section of a tiny text-to-image model."""
    folder = tmp_path_factory.mktemp("models") / "sd"
    tiny_models.seeded(tiny_models.sd).save_pretrained(folder)
    return ModelConfig(path=str(folder), steps=1, size=16)


@pytest.fixture(scope="session")
def tower(tmp_path_factory):
    """Returns the recipe section of a tiny image tower."""
    return FilterConfig(path=str(tiny_models.seeded(tiny_towers.save_clip, tmp_path_factory.mktemp("models") / "clip")))


@pytest.fixture
def recipe(model, tower):
    return Recipe(source=SourceConfig(path="photos"), model=model, filter=tower)


@pytest.fixture(scope="session")
def photos():
    """Returns four JPEG photographs of different sizes, with their original paths."""
    noise = np.random.default_rng(0)
    pixels = [noise.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES]
    return [{"bytes": images.encode(array), "path": f"{number}.jpg"} for number, array in enumerate(pixels)]


@pytest.fixture
def planned(photos):
    """Returns the planned rows that the stages read, or the same rows with other column names."""
    rows = {
        "source_image": photos,
        "second": photos[::-1],
        "label": [0, 0, 1, 1],
        "prompt": ["a red bird", "a red bird in snow", "a car", "a red bird"],
        "negative_prompt": ["blurry", "blurry", "dark", None],
        "seed": [1, 2, 3, 2**62],
    }
    kinds = {"label": Value("int64"), "prompt": Value("string"), "negative_prompt": Value("string")}
    features = Features({"source_image": Image(), "second": Image(), **kinds, "seed": Value("int64")})
    return Dataset.from_dict(rows, features=features)


@pytest.fixture
def cells():
    """Returns the encoded cells of an image column."""
    return lambda ds, column: ds.cast_column(column, Image(decode=False))[column][:]
