"""The layout of an epoch: the samples of each mode, and that a training builds it once."""

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


def test_a_training_asks_once_a_row_for_a_partner(train_recipe, monkeypatch):
    asked = []
    serves = Pool.serves
    monkeypatch.setattr(
        Pool, "serves", lambda pool, label, row_id=None: (asked.append(row_id), serves(pool, label, row_id))[1]
    )
    trials.run(train_recipe(mix={"partner": "real_same_class"}, max_steps=1, seeds=[0, 1]), progress=False)
    assert len(asked) == len(set(asked)) == 15


def test_data_loaded_for_another_mode_is_refused(train_recipe):
    recipe = train_recipe(mix={"mode": "off"})
    with pytest.raises(ValueError, match="loaded for mode 'append', but the recipe's is 'off'"):
        train_samples(recipe, load_data(recipe.data, train_recipe().mix), seed=0)
