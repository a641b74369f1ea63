"""Tests of executors: runs with different executors make the same decisions."""

import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

import pyarrow.parquet as pq
import pytest
from small_photos import photos

from diffcore_hf.augmentation.worker import compute_part
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import diffusion
from diffcore_hf.workflows import augment


class TwoProcesses:
    """An executor with two forked processes. They open the source themselves and do not import torch again."""

    def __init__(self, run):
        run.require_source_on_disk("a process pool")
        self.output, self.recipe = str(run.folder.path), run.recipe
        self.pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))

    def batch_size(self, task):
        return 4

    def run(self, tasks, on_progress):
        tasks, running = iter(tasks), set()
        while True:
            while len(running) < 2 and (task := next(tasks, None)) is not None:
                running.add(self.pool.submit(compute_part, self.output, self.recipe, task))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                part = future.result()
                on_progress(len(part.task))
                yield part

    def close(self):
        self.pool.shutdown(cancel_futures=True)


@pytest.fixture
def make(recipe, folder_of_photos, tmp_path):
    """Returns a function that builds a recipe for an output folder. Parts have three items, and `strict` is off."""
    policy = {"name": "rank", "by": "class_mean", "floor": "off"}
    return lambda name: recipe(
        source=str(folder_of_photos), output=str(tmp_path / name), part_size=3, **{"filter.policy": policy}
    )


def decisions(result):
    """Returns (row id, copy, attempt, seed, reason) of every attempt."""
    files = sorted((result.folder.path / "attempts").glob("*.parquet"))
    columns = ["row_id", "copy", "attempt", "seed", "reason"]
    return [tuple(row.values()) for file in files for row in pq.read_table(file, columns=columns).to_pylist()]


@pytest.mark.timeout(600)
def test_a_pool_of_two_processes_makes_the_same_decisions(make, monkeypatch):
    alone = augment.run(make("alone"), progress=False)
    loaded, load, own = [], diffusion.load_pipeline, os.getpid()

    def recorded(config, *more):
        if os.getpid() == own:
            loaded.append(config)
        return load(config, *more)

    monkeypatch.setattr(diffusion, "load_pipeline", recorded)
    pooled = augment.run(make("pooled"), progress=False, executor=TwoProcesses)
    assert loaded == []
    assert decisions(pooled) == decisions(alone)
    assert pooled.summary.counts == alone.summary.counts
    assert pooled.new_attempts == alone.new_attempts


def test_an_executor_with_other_processes_refuses_a_dataset_in_memory_with_a_one_line_error(recipe, tmp_path):
    with pytest.raises(UserError, match=r"dataset in memory, but a process pool opens it.*--source\.path") as error:
        augment.run(recipe(output=str(tmp_path / "out")), photos([2, 2]), progress=False, executor=TwoProcesses)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
