"""Fixtures: a finished run on ten photos, which the tests of this folder read or copy."""

import shutil

import pytest
from cheap_runs import cheap_runs
from run_folders import PARTIAL, go


@pytest.fixture(scope="package")
def make(recipe, folder_of_photos):
    """Returns a function that builds a recipe for an output folder and keys: the photos, `strict`, two attempts."""

    def make(output, **more):
        more = {"source": str(folder_of_photos), "strict": True, "filter.policy": PARTIAL, "output": str(output)} | more
        return recipe(**more)

    return make


@pytest.fixture(scope="package", autouse=True)
def cheap():
    """Makes the runs of this folder cheap."""
    with cheap_runs():
        yield


@pytest.fixture(scope="package")
def done(make, tmp_path_factory):
    """Returns a finished run on the photos. Tests that change the folder use `copy`."""
    return go(make(tmp_path_factory.mktemp("done") / "out"))


@pytest.fixture
def copy(done, tmp_path):
    """Returns a copy of the folder of the finished run."""
    shutil.copytree(done.folder.path, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def no_weights(monkeypatch):
    """Fails the test if weights are loaded."""
    import torch

    from diffcore_hf.models import pipelines

    def refused(*arguments, **keywords):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(pipelines, "load_pipeline", refused)
    monkeypatch.setattr(torch.nn.Module, "to", refused)
