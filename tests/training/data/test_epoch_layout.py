"""Tests of the layout of an epoch: the samples of each mode, and a training that builds the layout once."""

from __future__ import annotations

import numpy as np
import pytest

from diffcore_hf.training.comparison import trials
from diffcore_hf.training.data.epoch_layout import lay_out_epoch
from diffcore_hf.training.data.pool import Pool
from diffcore_hf.training.data.samples import train_samples
from diffcore_hf.training.data.training_data import load_data


@pytest.mark.parametrize(
    ("mode", "rows", "mixed"),
    [
        ("off", [0, 1, 2], [False, False, False]),
        ("replace", [0, 1, 2], [None, None, None]),
        ("append", [0, 1, 2, 0, 2], [False, False, False, True, True]),
    ],
)
def test_samples_of_each_mode(mode, rows, mixed):
    layout = lay_out_epoch(mode, np.array([True, False, True]))
    assert (layout.rows.tolist(), list(layout.mixed), len(layout)) == (rows, mixed, len(rows))


def test_a_training_searches_the_pool_once_for_each_row(train_recipe, monkeypatch):
    row_ids = []
    serves = Pool.serves
    monkeypatch.setattr(
        Pool, "serves", lambda pool, label, row_id=None: (row_ids.append(row_id), serves(pool, label, row_id))[1]
    )
    trials.run(train_recipe(mix={"partner": "real_same_class"}, max_steps=1, seeds=[0, 1]), progress=False)
    assert len(row_ids) == len(set(row_ids)) == 15


def test_data_loaded_for_another_mode_raises_an_error(train_recipe):
    recipe = train_recipe(mix={"mode": "off"})
    with pytest.raises(ValueError, match="loaded for mode 'append', but the recipe has mode 'off'"):
        train_samples(recipe, load_data(recipe.data, train_recipe().mix), seed=0)
