"""Tests of several workers on one folder: the result is that of one process, whatever happens to a worker."""

import pytest
import worker_processes
from run_folders import published
from small_photos import write_photos
from worker_processes import keys_of_run, made, start

from diffcore_hf.augmentation.share import Share
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.workflows import augment, pictures


@pytest.fixture(scope="package")
def source(tmp_path_factory):
    """Returns a folder of 16 photos of three classes."""
    return write_photos(tmp_path_factory.mktemp("source") / "photos", [6, 5, 5])


@pytest.fixture(scope="package")
def make(source, tiny):
    """Returns a function that builds a recipe for an output folder. No diffusion model is loaded."""
    return lambda output, **more: build_recipe(keys_of_run(source, tiny["clip"], output, **more))


@pytest.fixture(scope="package")
def alone(make, tmp_path_factory):
    """Returns the published files of an undisturbed run of one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "SHEET_TILES", 2)
        result = augment.run(make(tmp_path_factory.mktemp("alone") / "out"), progress=False)
    assert {"kept", "low_rank"} <= set(result.summary.reasons)
    return published(result.folder.path)


def join(processes):
    """Waits for processes and returns their exit statuses."""
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def test_two_workers_share_the_work_and_make_the_result_of_one_process(make, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_processes, "SECONDS", 0.01)
    out = tmp_path / "out"
    recipe = make(out, part_size=2)
    workers = [start(recipe, Share(index, 2), tmp_path / "errors") for index in range(2)]
    assert join(workers) == [0, 0], (tmp_path / "errors").read_text()
    assert published(out) == alone
    counts = made(out)
    assert counts.total() - len(counts) <= 4
    assert list((out / ".diffcore/workers").iterdir()) == []
