"""Fixtures: finished folders of two versions, and the Hub double with the real clients.

The Hub double is a local test server in place of the Hub.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cheap_runs import cheap_runs

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.workflows.augment import run as run_augment
from diffcore_hf.workflows.export import export
from testing.hub_double.fixtures import client, hub, xet_client  # noqa: F401 (fixtures)


@pytest.fixture(scope="package", autouse=True)
def cheap():
    """Makes the runs of this folder cheap."""
    with cheap_runs():
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory, keys, folder_of_photos) -> Path:
    """Returns the folder of a run that kept every image."""
    out = tmp_path_factory.mktemp("finished") / "out"
    recipe = build_recipe(
        {"source": {"path": str(folder_of_photos)}, "output": str(out)}, keys, {"filter": {"policy": {"name": "all"}}}
    )
    run_augment(recipe, progress=False)
    return out


@pytest.fixture(scope="session")
def second(tmp_path_factory, finished) -> Path:
    """Returns another version of the same dataset with half of the counterparts."""
    out = tmp_path_factory.mktemp("second") / "out"
    export(finished, out, {"fraction": 0.5})
    return out


@pytest.fixture(scope="session")
def without_originals(tmp_path_factory, finished) -> Path:
    """Returns the dataset without its original images."""
    out = tmp_path_factory.mktemp("bare") / "out"
    export(finished, out, {"include_originals": False})
    return out
