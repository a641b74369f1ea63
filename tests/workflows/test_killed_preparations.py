"""Tests of processes that are killed while they learn tokens, make captions or embed images with a second tower.

A killed process runs no handler. The next command continues with the finished files, and the result is the same.
"""

import os
import shutil
from multiprocessing import get_context

import pytest
import tiny_models
import tiny_towers
import torch
from run_folders import go, published
from worker_processes import kill, own_locks_of_progress_bars

from diffcore_hf.augmentation import image_captions
from diffcore_hf.models import token_training
from diffcore_hf.workflows import second_tower
from diffcore_hf.workflows.describe import describe
from diffcore_hf.workflows.export import export

KEEP_ALL = {"filter.policy": {"name": "all"}, "max_attempts": 1, "limit": 3}


def killed(work, name, time):
    """Runs a function in a process that is killed before it renames or links a file to a path that contains `name`.

    `time` is the number of this rename or link: 1 for the first.
    """

    def child():
        own_locks_of_progress_bars()
        torch.set_num_threads(1)
        times = []

        def counted(function):
            def call(source, target):
                if name in str(target):
                    times.append(target)
                    if len(times) == time:
                        os.kill(os.getpid(), 9)
                function(source, target)

            return call

        os.replace, os.link = counted(os.replace), counted(os.link)
        work()

    process = get_context("fork").Process(target=child)
    process.start()
    process.join(240)
    kill(process)
    return process.exitcode


def leftovers(folder):
    return list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("time", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_embedding_is_continued_and_leaves_no_file(done, tiny, tmp_path, monkeypatch, time):
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    export(done.folder.path, out, {"filter": {"policy": {"name": "all"}}})
    shutil.copytree(out, undisturbed)
    expected = describe(undisturbed, tower=tiny["clip"]).text.splitlines()[1:]
    monkeypatch.setattr(second_tower, "_IMAGES", 4)
    monkeypatch.setattr(second_tower, "_SECONDS", -1)
    assert killed(lambda: describe(out, tower=tiny["clip"]), ".npz", time) == -9
    assert leftovers(out)
    assert describe(out, tower=tiny["clip"]).text.splitlines()[1:] == expected
    assert leftovers(out) == []


@pytest.fixture(scope="module")
def recipes(make, tmp_path_factory):
    """Returns two functions: one builds the recipe of a kind and a folder, one returns a finished folder of a kind."""
    root = tmp_path_factory.mktemp("killed")
    captioner = tiny_models.seeded(tiny_towers.save_captioner, root / "blip")
    prompts = {"contexts": None, "contexts_from": "captions", "captioner": {"path": str(captioner), "images": 5}}
    keys = {
        "captions": {"prompts": prompts},
        "tokens": {"strategy": {"name": "learned_tokens", "options": {"steps": 3, "batch": 2}}},
    }
    made = {}

    def recipe(kind, folder):
        return make(folder, **keys[kind], **KEEP_ALL)

    def finished(kind):
        if kind not in made:
            made[kind] = root / kind
            go(recipe(kind, made[kind]))
        return made[kind]

    return recipe, finished


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "time"),
    [
        ("captions", "/run.json", 1),
        ("captions", f"/{image_captions.IMAGE_CAPTIONS}/", 1),
        ("captions", f"/{image_captions.IMAGE_CAPTIONS}/", 3),
        ("captions", "/run.json", 2),
        ("tokens", token_training.CHECKPOINT, 1),
        ("tokens", token_training.CHECKPOINT, 2),
        ("tokens", "/prepared/", 3),
        ("tokens", "/run.json", 1),
    ],
)
def test_a_killed_preparation_is_continued_to_the_same_dataset(recipes, tmp_path, monkeypatch, kind, name, time):
    recipe, finished = recipes
    expected = published(finished(kind))
    monkeypatch.setattr(image_captions, "PART", 2)
    monkeypatch.setattr(token_training, "CHECKPOINT_STEPS", 1)
    out = tmp_path / "out"
    assert killed(lambda: go(recipe(kind, out)), name, time) == -9
    go(recipe(kind, out))
    assert published(out) == expected
    assert leftovers(out) == []
    shutil.rmtree(out)
