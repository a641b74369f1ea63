"""Columns of a dataset: plain values, undecoded images, and which rows have one."""

from __future__ import annotations

from augmented_photos import augmented

from diffcore_hf.core.dataset_columns import column_values, image_mask, undecoded


def test_values_of_one_column():
    assert column_values(augmented((1, 2)), "row_id") == ["train/0-0", "train/1-0", "train/1-1"]


def test_images_stay_bytes():
    rows = undecoded(augmented((1,), without=()), "image", "generated", "label", "missing")
    assert set(rows[0]["image"]) == set(rows[0]["generated"]) == {"bytes", "path"}
    assert rows.features["label"] == augmented((1,)).features["label"]


def test_rows_with_an_image():
    rows = augmented((4,), without=(2,))
    assert image_mask(rows, "generated").tolist() == [True, True, False, True]
    assert image_mask(rows.select([]), "generated").tolist() == []
