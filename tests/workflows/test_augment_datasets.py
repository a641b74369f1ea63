"""Tests of runs on datasets with different formats, column names, labels and numbers of classes."""

import pytest
from datasets import (
    ClassLabel,
    Dataset,
    Features,
    Image,
    concatenate_datasets,
)
from run_folders import go, rows, sha256
from small_photos import photos, picture


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: ds.with_format("torch"),
        lambda ds: ds.with_format("numpy"),
        lambda ds: ds.with_transform(lambda batch: {"pixel_values": [1] * len(batch["image"])}),
        lambda ds: ds.cast_column("image", Image(decode=False)),
        lambda ds: ds.shuffle(seed=3),
        lambda ds: concatenate_datasets([ds.select([0, 1]), ds.select([2, 3])]),
    ],
    ids=["torch", "numpy", "a transform", "undecoded", "shuffled", "concatenated"],
)
def test_a_dataset_in_memory_can_have_any_transform_or_format(make, tmp_path, change):
    ds = change(photos([2, 2]))
    go(make(tmp_path / "out", source="in-memory", max_attempts=1, **{"filter.policy": {"name": "all"}}), ds)
    augmented = {row["row_id"]: row for row in rows(tmp_path / "out")}
    assert len(augmented) == 4
    expected = {sha256(picture(label, number)) for label in range(2) for number in range(2)}
    assert {sha256(row["image"]["bytes"]) for row in augmented.values()} == expected
    assert all(row["status"] == "kept" for row in augmented.values())


def test_columns_and_labels_keep_their_names(make, tmp_path):
    ds = photos([2, 2]).rename_column("image", "photo").remove_columns("label")
    ds = ds.add_column("größe", ["Fuchs", "Fuchs", "Straße_7", "Straße_7"])
    source = {"path": "in-memory", "image": "photo", "label": "größe"}
    go(make(tmp_path / "out", source=source, max_attempts=1, **{"filter.policy": {"name": "all"}}), ds)
    generated = rows(tmp_path / "out", "generated")
    assert generated.column_names[:2] == ["photo", "größe"]
    assert generated["größe"][:] == ["Fuchs", "Fuchs", "Straße_7", "Straße_7"]
    assert rows(tmp_path / "out", "classes")["prompt_name"][:] == ["Fuchs", "Straße 7"]


def test_the_same_photo_twice_is_two_rows(make, tmp_path):
    ds = concatenate_datasets([photos([2, 2]), photos([2, 2])])
    outcome = go(make(tmp_path / "out", source="in-memory", max_attempts=1, **{"filter.policy": {"name": "all"}}), ds)
    default = rows(tmp_path / "out")
    assert sorted(row_id.partition("~")[2] for row_id in default["row_id"]) == [""] * 4 + ["1"] * 4
    assert len(set(default["seed"])) == 8
    assert outcome.summary.counts["kept"] == 8


def test_a_source_with_one_class_is_augmented(make, tmp_path):
    outcome = go(make(tmp_path / "out", source="in-memory", **{"filter.policy": {"name": "rank"}}), photos([5]))
    assert outcome.summary.counts["planned"] == 5


def test_every_row_has_a_status_if_no_image_can_be_read(make, tmp_path):
    features = Features({"image": Image(), "label": ClassLabel(names=["red fox", "blue jay"])})
    cells = [{"bytes": bytes([number]) * 9, "path": None} for number in range(4)]
    ds = Dataset.from_dict({"image": cells, "label": [0, 0, 1, 1]}, features=features)
    outcome = go(make(tmp_path / "out", source="in-memory"), ds)
    assert outcome.summary.counts["failed"] == 4
    assert rows(tmp_path / "out")["status"][:] == ["failed"] * 4
