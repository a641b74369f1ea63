"""Tests of the run and its steps as Python functions."""

import json

import pytest
from datasets import (
    Dataset,
    Image,
)
from PIL import Image as Pillow
from run_folders import contents, go, interrupt_at, rows
from small_photos import photos

from diffcore_hf import Generate, Score, augment, plan
from diffcore_hf.augmentation.marks import mark_of_run
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.schema import ADDED_COLUMNS


def test_augment_takes_a_dataset_in_memory(keys, tmp_path):
    ds = photos([3, 3])
    augmented = augment(
        ds, split="train", kind="bird", output=str(tmp_path / "out"), progress=False,
        **keys | {"filter": keys["filter"] | {"policy": "all"}},
    )  # fmt: skip
    assert isinstance(augmented, Dataset)
    assert augmented.column_names == ["image", "label", *ADDED_COLUMNS]
    assert isinstance(augmented[0]["generated"], Pillow.Image)
    assert augmented[0]["generated"].size == (16, 16)
    assert augmented[0]["row_id"].startswith("train/")
    assert "a bird" in augmented[0]["prompt"]
    assert contents(augmented) == contents(ds)


def test_keywords_of_augment_override_the_recipe(make, done, tmp_path):
    augmented = augment(recipe=make(tmp_path / "other"), output=str(tmp_path / "out"), limit=2, progress=False)
    assert sorted(augmented["status"]) != sorted(rows(done.folder.path)["status"])
    assert augmented["status"][:].count("pending") == 8
    assert not (tmp_path / "other").exists()


def test_an_interrupted_augment_raises_after_it_has_exported(make, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, "diffcore_hf.models.diffusion.TextToImage.sample", 2)
    with pytest.raises(KeyboardInterrupt):
        augment(recipe=make(tmp_path / "out", part_size=3), progress=False)
    assert Folder(tmp_path / "out").faults() == []


def test_plan_generate_and_score_run_as_steps_of_datasets_map(recipe):
    ds = photos([3, 2])
    steps = recipe(seed=5)
    augmented = plan(ds, steps)
    augmented = Generate(steps.model).map(augmented)
    augmented = Score(steps.filter).map(augmented)
    assert augmented.column_names[-2:] == ["generated_image", "similarity"]
    assert isinstance(augmented[0]["generated_image"], Pillow.Image)
    assert all(-1 <= value <= 1 for value in augmented["similarity"])
    assert contents(augmented, "source_image") == contents(ds)


def test_single_steps_generate_the_same_attempts_as_a_run(recipe, tmp_path):
    ds, strict = photos([3, 2]), {"strict": True, "filter.policy": {"name": "all"}}
    steps = recipe(output=str(tmp_path / "out"), **strict)
    go(steps, ds)
    mark = mark_of_run(json.loads((tmp_path / "out" / ".diffcore" / "run.json").read_text()))
    generate = Generate(steps.model, strict=True, mark=mark)
    augmented = Score(steps.filter, strict=True).map(generate.map(plan(ds, steps)))
    undecoded = augmented.cast_column("generated_image", Image(decode=False))
    published_rows = rows(tmp_path / "out")
    assert undecoded["generated_image"][:] == published_rows["generated"][:]
    assert augmented["seed"][:] == published_rows["seed"][:]
