"""Tests of training samples, which are the same in every arm and in mixing_rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from augmented_photos import augmented, write_augmented

from diffcore_hf import MixTransform, mixing_rows
from diffcore_hf.training.data.samples import train_samples
from diffcore_hf.training.data.training_data import load_data


def test_train_samples_and_mixing_rows_have_the_same_samples(train_recipe):
    """TrainSamples of mode append and mixing_rows with MixTransform give the same samples in an epoch."""
    recipe = train_recipe()
    data = load_data(recipe.data, recipe.mix)
    samples = train_samples(recipe, data, seed=0)
    batch = samples.__getitems__([(1, index) for index in range(len(samples))])

    mix = MixTransform(32, transform="tiny_preact_1200", normalise=False)
    mix.set_epoch(1)
    view = mixing_rows(augmented()).with_transform(mix)[:]
    assert torch.equal(batch["images"], view["pixel_values"])
    assert batch["labels"].tolist() == view["label"]
    assert batch["mixed"] == 12


def test_unmixed_samples_are_the_same_in_every_arm(train_recipe):
    """The unmixed samples of mode append are equal to those of a training without mixing."""
    requested = [(0, index) for index in range(15)]
    images = []
    for mix in ({"mode": "off"}, {}):
        recipe = train_recipe(mix=mix)
        images.append(train_samples(recipe, load_data(recipe.data, recipe.mix), 0).__getitems__(requested)["images"])
    assert torch.equal(*images)


def test_partner_class_reads_the_config_generated(tmp_path, train_recipe):
    rows = augmented()
    folder = write_augmented(tmp_path / "photos", train=rows, test=augmented((2, 2, 2), start=30))
    with pytest.raises(ValueError, match="reads configuration 'generated', but .* has none"):
        load_data(train_recipe(data={"path": str(folder)}).data, train_recipe(mix={"partner": "class"}).mix)
    kept = rows.filter(lambda status: status == "kept", input_columns="status")
    (folder / "generated").mkdir()
    kept.select_columns(["generated", "label", "row_id"]).rename_column("generated", "image").to_parquet(
        folder / "generated" / "train.parquet"
    )
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: data/train-*}\n"
        "  - {split: test, path: data/test-*}\n- config_name: generated\n  data_files:\n"
        "  - {split: train, path: generated/train.parquet}\n---\n"
    )
    recipe = train_recipe(data={"path": str(folder)}, mix={"partner": "class"})
    data = load_data(recipe.data, recipe.mix)
    samples = train_samples(recipe, data, seed=0)
    assert len(samples) == 30 and len(data.pool) == 12
    with_holdout = load_data(replace(recipe.data, test=None, holdout=0.4), recipe.mix)
    trained = set(with_holdout.train.row_ids)
    assert len(with_holdout.pool) == sum(row_id in trained for row_id in kept["row_id"]) < 12
    assert samples.__getitems__([(0, index) for index in range(15, 30)])["mixed"] == 15
