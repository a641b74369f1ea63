"""Tests of the holdout: the number of rows of each class, and images that were computed from held-out rows."""

from __future__ import annotations

import pytest
from augmented_photos import augmented, write_augmented

from diffcore_hf.config.train import DataConfig, MixConfig
from diffcore_hf.training.data.holdout import holdout
from diffcore_hf.training.data.training_data import load_data

OFF = MixConfig(mode="off")


@pytest.mark.parametrize(
    ("counts", "share", "held_out"), [((1, 9), 0.5, 0), ((2, 9), 0.01, 1), ((3, 9), 0.9, 2), ((10, 9), 0.0, 0)]
)
def test_a_class_is_never_held_out_completely(tmp_path, counts, share, held_out):
    folder = write_augmented(tmp_path / "a", train=augmented(counts), test=augmented((1, 1)))
    train = load_data(DataConfig(str(folder)), OFF).train
    assert (train.labels[holdout(train, share)[1]] == 0).sum() == held_out


def test_images_computed_from_a_held_out_row_are_neither_trained_on_nor_scored(tmp_path):
    """In the layouts `rows` and `mixed`, computed images follow the real rows and have their row ids."""
    from datasets import concatenate_datasets

    real = augmented((6, 6), without=()).select_columns(["image", "label", "row_id"])
    rows = concatenate_datasets(
        [real.add_column("is_generated", [False] * 12), real.add_column("is_generated", [True] * 12)]
    )
    data = load_data(DataConfig(str(write_augmented(tmp_path / "a", train=rows)), holdout=0.3), OFF)
    assert len(data.test) == 4 and not data.test.derived.any()
    assert len(data.train) == 24 - 8 and not set(data.train.row_ids) & set(data.test.row_ids)
