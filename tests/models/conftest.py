"""Fixtures for the tests of models: folders of tiny pipelines and image towers."""

from __future__ import annotations

import pytest
import tiny_models
import tiny_towers


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """Returns the folders of saved tiny pipelines by family."""
    root = tmp_path_factory.mktemp("pipelines")
    for name, build in tiny_models.PIPELINES.items():
        tiny_models.seeded(build).save_pretrained(root / name)
    return {name: root / name for name in tiny_models.PIPELINES}


@pytest.fixture(scope="session")
def towers(tmp_path_factory):
    """Returns the folders of saved tiny image towers by name."""
    root = tmp_path_factory.mktemp("towers")
    return {name: tiny_models.seeded(save, root / name) for name, save in tiny_towers.TOWERS.items()}
