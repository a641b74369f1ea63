"""Tests of several workers on one folder: the result equals that of one process, also if workers end or are killed."""

import random
import time

import pytest
import worker_processes
from run_folders import attempts_of, published
from worker_processes import join, kill, made, start

from diffcore_hf.augmentation.share import Share


@pytest.fixture
def slow_images(monkeypatch):
    """Makes each image take some time, so that workers overlap."""
    monkeypatch.setattr(worker_processes, "SECONDS", 0.01)


def test_two_workers_share_the_work_and_make_the_result_of_one_process(make, alone, tmp_path, slow_images):
    out = tmp_path / "out"
    recipe = make(out, part_size=2)
    workers = [start(recipe, Share(index, 2), tmp_path / "errors") for index in range(2)]
    assert join(workers) == [0, 0], (tmp_path / "errors").read_text()
    assert published(out) == alone
    counts = made(out)
    assert counts.total() - len(counts) <= 4
    assert sum(len(key) == 3 for key in counts) == len(attempts_of(out)), "attempts were made that no unit needs"
    assert list((out / ".diffcore/workers").iterdir()) == []


def test_workers_are_killed_and_another_number_of_workers_continues_with_other_parts(
    make, alone, tmp_path, slow_images
):
    out, errors, draw = tmp_path / "out", tmp_path / "errors", random.Random(1)
    workers = [start(make(out, part_size=2), Share(index, 3), errors) for index in range(3)]
    for worker in workers:
        time.sleep(draw.uniform(0.1, 0.4))
        kill(worker)
    assert join([start(make(out, part_size=3), Share(index, 2), errors) for index in range(2)]) == [0, 0]
    assert published(out) == alone
    counts = made(out)
    assert counts.total() - len(counts) <= 2 * 3 * 3


def test_three_processes_that_each_have_the_whole_share_make_the_result_of_one(make, alone, tmp_path):
    out, errors = tmp_path / "out", tmp_path / "errors"
    assert join([start(make(out, part_size=4), errors=errors) for _ in range(3)]) == [0, 0, 0], errors.read_text()
    assert published(out) == alone
