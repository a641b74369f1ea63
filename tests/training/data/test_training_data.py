"""Tests of the data of a training: its rows, the split that is scored, and one-line errors for missing data."""

from __future__ import annotations

import re

import numpy as np
import pytest
from augmented_photos import augmented, write_augmented
from datasets import Value

from diffcore_hf.config.train import DataConfig, MixConfig
from diffcore_hf.training.data.training_data import equal_images_notes, load_data

OFF = MixConfig(mode="off")


def test_splits_classes_and_counterparts_are_read_from_the_folder(folder):
    data = load_data(DataConfig(str(folder)), MixConfig())
    assert [len(split) for split in (data.train, data.validation, data.test)] == [15, 6, 9]
    assert data.classes == ("red_fox", "green_frog", "blue_jay")
    assert data.has_counterpart.sum() == 12
    assert data.planned_share == 1.0 and data.notes == ()


def test_without_a_test_split_the_validation_split_is_scored_and_selects_no_model(tmp_path):
    folder = write_augmented(tmp_path / "a", train=augmented(), validation=augmented((2, 2, 2), start=20))
    data = load_data(DataConfig(str(folder)), OFF)
    assert (data.test.name, data.validation) == ("validation", None)


def test_without_test_and_validation_splits_a_share_of_each_class_is_held_out(tmp_path):
    folder = write_augmented(tmp_path / "a", train=augmented((10, 5, 2)))
    data = load_data(DataConfig(str(folder), holdout=0.2), MixConfig())
    assert np.bincount(data.test.labels).tolist() == [2, 1, 1]
    assert not set(data.test.row_ids) & set(data.train.row_ids)
    assert len(data.train) == 13 == len(data.has_counterpart)
    assert "held out" in data.notes[0]
    again = load_data(DataConfig(str(folder), holdout=0.2), MixConfig())
    assert again.test.row_ids == data.test.row_ids


def test_groups_stay_with_their_rows_when_rows_are_left_out(tmp_path):
    rows = augmented((4, 4, 4)).add_column("camera", [f"camera {index % 3}" for index in range(12)])
    rows = rows.map(
        lambda s, i: {"status": "failed" if i == 2 else s},
        input_columns="status",
        with_indices=True,
        features=rows.features,
    )
    data = load_data(DataConfig(str(write_augmented(tmp_path / "g", train=rows, test=rows)), group="camera"), OFF)
    assert list(data.test.groups) == [f"camera {index % 3}" for index in range(12) if index != 2]
    assert list(data.test.select(np.array([3, 0])).groups) == [data.test.groups[3], "camera 0"]
    assert load_data(DataConfig(str(tmp_path / "g")), OFF).test.groups is None


def test_labels_may_be_texts_or_numbers(tmp_path):
    rows = augmented()
    names = rows.features["label"].names
    texts = rows.remove_columns("label").add_column("label", [names[label] for label in rows["label"]])
    data = load_data(DataConfig(str(write_augmented(tmp_path / "t", train=texts, test=texts))), OFF)
    assert data.classes == tuple(sorted(names))
    assert [data.classes[label] for label in data.train.labels] == texts["label"][:]


def test_unusable_rows_are_left_out_and_counted(tmp_path):
    rows = augmented()
    with_failed_row = rows.map(
        lambda status, index: {"status": "failed" if index == 1 else status},
        input_columns="status",
        with_indices=True,
        features=rows.features,
    )
    data = load_data(DataConfig(str(write_augmented(tmp_path / "a", train=with_failed_row, test=rows))), MixConfig())
    assert len(data.train) == 14 and data.notes[0].startswith("1 of 15 rows of split train")


MESSAGES = {
    "data.train is 'training', which": ({"train": "training"}, MixConfig(), "rows"),
    "has no column 'generated' (generated)": ({}, MixConfig(), "plain"),
    "has no column 'species' (label)": ({"label": "species"}, OFF, "rows"),
    "was published without its original images. Put them back with join_originals": ({}, MixConfig(), "empty"),
    "data.validation is 'dev', which": ({"validation": "dev"}, OFF, "rows"),
    "no split to score on": ({"holdout": 0.0}, OFF, "rows"),
    "has type Value('float32'), not one class for each row": ({}, OFF, "floats"),
    "data.validation is 'train', which is the training split": ({"validation": "train"}, OFF, "rows"),
    "data.test is 'train', which is the training split": ({"test": "train"}, OFF, "rows"),
    "data.group is 'weather', which split 'holdout' of": ({"group": "weather"}, OFF, "rows"),
    "has 1 class in column 'label', but a training needs two or more": ({}, OFF, "one"),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_missing_data_gives_a_one_line_error(tmp_path, message):
    keys, mix, kind = MESSAGES[message]
    rows = augmented()
    table = {
        "rows": lambda: rows,
        "plain": lambda: rows.remove_columns(["generated", "status", "row_id"]),
        "empty": lambda: rows.map(lambda _: {"image": None}, input_columns="row_id", features=rows.features),
        "one": lambda: augmented((5,)),
        "floats": lambda: rows.cast_column("label", Value("float32")),
    }[kind]()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_data(DataConfig(str(write_augmented(tmp_path / "a", train=table)), **keys), mix)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_raises_an_error(tmp_path):
    with pytest.raises(ValueError, match="data.path is .* which is neither an existing folder"):
        load_data(DataConfig(str(tmp_path / "none")), OFF)


def test_one_split_cannot_both_select_a_model_and_score_it(folder):
    with pytest.raises(ValueError, match="the split that selects a model must not score it"):
        load_data(DataConfig(str(folder), validation="test"), OFF)
    assert load_data(DataConfig(str(folder), train="validation"), OFF).validation is None


@pytest.mark.parametrize(
    "manifest, note",
    [
        (None, None),
        ({}, None),
        ({"source_report": {"across_splits": 0}}, None),
        ({"source_report": {"across_splits": "many"}}, None),
        ({"source_report": {"across_splits": 1}}, "1 image of the source is in more than one split"),
        ({"source_report": {"across_splits": 3}}, "3 images of the source are in more than one split"),
    ],
)
def test_the_comparison_notes_equal_images_in_two_splits(manifest, note):
    notes = equal_images_notes(manifest)
    assert (notes == []) if note is None else notes[0].startswith(note)
