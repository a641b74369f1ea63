"""Tests of the start of a large run: a part is generated while the attempts that exist are tested."""

import shutil
import threading

import numpy as np
import pytest
import torch
from run_folders import published
from small_photos import photos

from diffcore_hf.augmentation import decisions, rounds
from diffcore_hf.augmentation.executors.local import LocalExecutor
from diffcore_hf.augmentation.tasks import AttemptTask
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.layers import keywords_layer
from diffcore_hf.generation.base import Samples, Strategy
from diffcore_hf.workflows.augment import run as augment_run


class Noise(Strategy):
    """Returns noise that depends on the seed."""

    uses_model = False
    reads = ("seed",)

    def sample(self, batch):
        pixels = [np.random.default_rng(seed).integers(0, 256, (3, 16, 16), np.uint8) for seed in batch["seed"]]
        return Samples(torch.from_numpy(np.stack(pixels)), [None] * len(pixels))


@pytest.fixture
def run(keys, tmp_path):
    """Returns a function that runs the strategy on 2 x 10 photos in memory, with recipe keys."""

    def run(folder, executor=LocalExecutor, **more):
        without_model = {key: value for key, value in keys.items() if key != "model"}
        own = {"source": {"path": "in-memory"}, "strategy.name": f"{__name__}:Noise", "batch_size": 4}
        layer = keywords_layer(**own, output=str(tmp_path / folder), **more)
        return augment_run(build_recipe(without_model, layer), photos([10, 10]), progress=False, executor=executor)

    return run


def test_parts_of_other_workers_are_read_before_the_first_part_is_chosen(run, tmp_path, monkeypatch):
    run("whole")
    run("large", limit=8)
    parts = [tmp_path / name / ".diffcore/parts" for name in ("whole", "large")]
    read_facts, tasks = rounds.read_facts, []

    def read(given):
        """Reads the facts. Then another worker commits all other attempts."""
        facts = read_facts(given)
        shutil.copytree(*parts, dirs_exist_ok=True)
        return facts

    class Watched(LocalExecutor):
        def run(self, given, on_progress):
            for task in given:
                tasks.append(task)
                yield from super().run([task], on_progress)

    monkeypatch.setattr(rounds, "LARGE", 1)
    monkeypatch.setattr(rounds, "read_facts", read)
    run("large", executor=Watched)
    assert [task for task in tasks if isinstance(task, AttemptTask)] == []
    assert published(tmp_path / "large") == published(tmp_path / "whole")


def test_a_part_of_a_large_run_is_generated_before_its_attempts_are_tested(run, tmp_path, monkeypatch):
    run("whole")
    run("large", limit=8)
    is_generating, fit = threading.Event(), decisions.policies.fit

    class Watched(LocalExecutor):
        def run(self, tasks, on_progress):
            for task in tasks:
                if isinstance(task, AttemptTask):
                    is_generating.set()
                yield from super().run([task], on_progress)

    def waiting_fit(*inputs):
        assert is_generating.wait(60), "the policy is fitted before the first part"
        return fit(*inputs)

    monkeypatch.setattr(rounds, "LARGE", 1)
    monkeypatch.setattr(decisions.policies, "fit", waiting_fit)
    run("large", executor=Watched)
    assert published(tmp_path / "large") == published(tmp_path / "whole")
    again = run("large")
    assert again.new_attempts == 0
