"""Tests of the columns of a dataset: plain values, undecoded images, and the mask of rows with an image."""

from __future__ import annotations

from augmented_photos import augmented

from diffcore_hf.core.dataset_columns import column_values, image_mask, undecoded


def test_the_values_of_one_column_are_returned():
    assert column_values(augmented((1, 2)), "row_id") == ["train/0-0", "train/1-0", "train/1-1"]


def test_undecoded_images_are_bytes_and_path():
    rows = undecoded(augmented((1,), without=()), "image", "generated", "label", "missing")
    assert set(rows[0]["image"]) == set(rows[0]["generated"]) == {"bytes", "path"}
    assert rows.features["label"] == augmented((1,)).features["label"]


def test_the_mask_is_true_for_rows_with_an_image():
    rows = augmented((4,), without=(2,))
    assert image_mask(rows, "generated").tolist() == [True, True, False, True]
    assert image_mask(rows.select([]), "generated").tolist() == []
