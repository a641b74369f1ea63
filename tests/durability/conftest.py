"""Fixtures of the tests that stop workers: a source, recipes without a diffusion model, and an undisturbed run."""

import pytest
from cheap_runs import cheap_runs
from run_folders import published
from small_photos import write_photos
from worker_processes import keys_of_run

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.workflows import augment


@pytest.fixture(scope="package", autouse=True)
def cheap():
    """Makes the runs of this folder cheap."""
    with cheap_runs():
        yield


@pytest.fixture(scope="package")
def make(tiny, tmp_path_factory):
    """Returns a function that builds a recipe for an output folder. The source has 16 photos of three classes."""
    source = write_photos(tmp_path_factory.mktemp("source") / "photos", [6, 5, 5])
    return lambda output, **more: build_recipe(keys_of_run(source, tiny["clip"], output, **more))


@pytest.fixture(scope="package")
def alone(make, tmp_path_factory):
    """Returns the published files of an undisturbed run of one process."""
    result = augment.run(make(tmp_path_factory.mktemp("alone") / "out"), progress=False)
    assert {"kept", "low_rank"} <= set(result.summary.reasons)
    return published(result.folder.path)
