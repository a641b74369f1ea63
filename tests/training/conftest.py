"""Fixtures: a small augmented folder, and a recipe that trains on this folder in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from augmented_photos import augmented, write_augmented


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Write a dataset with splits train (15 rows, 12 with a counterpart), validation (6) and test (9)."""
    return write_augmented(
        tmp_path_factory.mktemp("augmented") / "photos",
        train=augmented(),
        validation=augmented((2, 2, 2), start=20),
        test=augmented((3, 3, 3), start=40),
    )


@pytest.fixture
def train_recipe(folder, tmp_path):
    """Return a function that builds a TrainRecipe of a few steps on `folder` from keys."""
    from diffcore_hf.config.merging import build
    from diffcore_hf.config.train_schema import TRAIN_SCHEMA

    def make(**keys):
        base = {
            "data": {"path": str(folder)},
            "model": {"name": "test_resnet", "pretrained": False},
            "transform": {"preset": "tiny_preact_1200", "size": 32},
            "mix": {"kind": "both"},
            "optimizer": {"lr": 0.05, "head_lr": None},
            "max_steps": 6,
            "batch_size": 4,
            "workers": 0,
            "output": str(tmp_path / "trained"),
            "device": "cpu",
        }
        return build(TRAIN_SCHEMA, base, keys)

    return make
