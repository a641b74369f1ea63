"""Tests of layouts: folder names give the split and the class of each photo, and other photos are reported."""

from __future__ import annotations

from collections import Counter

import pytest

from diffcore_hf.augmentation.source import layouts
from diffcore_hf.augmentation.source.layouts import FolderLayout, Misfit, folder_layout
from diffcore_hf.augmentation.source.split_names import own_split_name, split_of


def photos(*folders: str, count: int = 4) -> list[str]:
    """Returns `count` paths in each folder. An item of `folders` that ends in .jpg is the path of a single photo."""
    paths = []
    for folder in folders:
        paths += [folder] if folder.endswith(".jpg") else [f"{folder}/{number}.jpg" for number in range(count)]
    return sorted(paths)


def classes(layout: FolderLayout) -> dict[str, dict[str, int]]:
    """Returns the number of rows of each class in each split."""
    return {split: dict(Counter(row.class_name for row in rows)) for split, rows in layout.splits.items()}


@pytest.mark.parametrize(
    "name, meaning",
    [
        ("train", "train"), ("Train", "train"), ("training set", "train"), ("train_2024", "train"),
        ("my-train", "train"),
        ("val", "validation"), ("VALID", "validation"), ("dev", "validation"), ("test.v2", "test"), ("eval", "test"),
        ("trainer", None), ("strain", None), ("train_test", None), ("", None), ("holdout", None),
    ],
)  # fmt: skip
def test_a_folder_name_with_the_word_of_a_split_is_that_split(name, meaning):
    assert (split_of(name).split if split_of(name) else None) == meaning


def test_other_folders_get_a_split_of_their_own_name():
    assert [own_split_name(name) for name in ("extra-holdout", "fold 1", "日本", "--")] == [
        "extra_holdout", "fold_1", "日本", "split",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "paths, rows",
    [
        (photos("bus", "train", "tram"), {"train": {"bus": 4, "train": 4, "tram": 4}}),
        (photos("test tubes", "beakers"), {"train": {"test tubes": 4, "beakers": 4}}),
        (photos("training shoes", "validation", "cat"), {"train": {"training shoes": 4, "validation": 4, "cat": 4}}),
        (photos("cat"), {"train": {"cat": 4}}),
        (photos("cat", "cat/batch 2", "dog"), {"train": {"cat": 8, "dog": 4}}),
        (photos("cat", "dog/images"), {"train": {"cat": 4, "dog": 4}}),
        (photos("cat/siamese", "cat/persian", "dog"), {"train": {"siamese": 4, "persian": 4, "dog": 4}}),
        (photos("photos/cat", "photos/dog"), {"train": {"cat": 4, "dog": 4}}),
        (photos("church/outdoor", "garage/outdoor"), {"train": {"church/outdoor": 4, "garage/outdoor": 4}}),
        (photos("x/mammal/cat", "x/mammal/other", "x/bird/owl", "x/bird/other"),
         {"train": {"cat": 4, "mammal/other": 4, "owl": 4, "bird/other": 4}}),
        (photos("bus", "tram", "train/steam", "train/electric"),
         {"train": {"bus": 4, "tram": 4, "steam": 4, "electric": 4}}),
        (photos("train/cat", "train/dog", "test/cat"), {"train": {"cat": 4, "dog": 4}, "test": {"cat": 4}}),
        (photos("Train/cat", "VAL/cat"), {"train": {"cat": 4}, "validation": {"cat": 4}}),
        (photos("train/train", "train/test tubes", "val/train"),
         {"train": {"train": 4, "test tubes": 4}, "validation": {"train": 4}}),
        (photos("set/train/cat", "set/test/cat"), {"train": {"cat": 4}, "test": {"cat": 4}}),
        (photos("a/train/cat", "b/train/cat", "a/val/cat"),
         {"train": {"a/cat": 4, "b/cat": 4}, "validation": {"a/cat": 4}}),
        (photos("cat/train", "cat/val", "dog/train", "dog/val"),
         {"train": {"cat": 4, "dog": 4}, "validation": {"cat": 4, "dog": 4}}),
        (photos("pets/cat/train", "pets/cat/test", "wild/cat/train"),
         {"train": {"pets/cat": 4, "wild/cat": 4}, "test": {"pets/cat": 4}}),
        (photos("train/ripe", "train/unripe", "extra_holdout/ripe"),
         {"train": {"ripe": 4, "unripe": 4}, "extra_holdout": {"ripe": 4}}),
        (photos("train/a", "extra-1/a", "extra 1/a"), {"train": {"a": 4}, "extra_1": {"a": 4}, "extra_1_2": {"a": 4}}),
    ],
)  # fmt: skip
def test_folder_names_give_splits_and_classes(paths, rows):
    layout = folder_layout(paths)
    assert isinstance(layout, FolderLayout)
    got = classes(layout)
    assert got == rows
    assert list(got) == list(rows)
    assert layout.unread == ()


@pytest.mark.parametrize(
    "paths, unread",
    [
        (photos("cat", "dog", "cover.jpg", "x.jpg"), {layouts.BESIDE_CLASSES: ["cover.jpg", "x.jpg"]}),
        (photos("mammal/cat", "mammal/dog", "bird/owl", "mammal/m.jpg"), {layouts.BESIDE_CLASSES: ["mammal/m.jpg"]}),
        (photos("train/cat", "train/dog", "train/cover.jpg"), {layouts.BESIDE_CLASSES: ["train/cover.jpg"]}),
        (photos("train/cat", "test/cat", "cover.jpg"), {layouts.BESIDE_SPLITS: ["cover.jpg"]}),
        (photos("train/cat", "train/x.jpg", "test/cat", "test/x.jpg"),
         {layouts.BESIDE_CLASSES: ["test/x.jpg", "train/x.jpg"]}),
        (photos("data/train/cat", "data/train/dog", "data/train", "data/test/cat"),
         {layouts.BESIDE_CLASSES: [f"data/train/{number}.jpg" for number in range(4)]}),
        (photos("train/cat", "train/dog", "test/1.jpg"), {layouts.NO_CLASS_FOLDER: ["test/1.jpg"]}),
        (photos("train/cat", "train/dog", "unlabeled/1.jpg"), {layouts.OTHER_FOLDER: ["unlabeled/1.jpg"]}),
        (photos("train/cat", "train/dog", "unlabeled/x/1.jpg"), {layouts.OTHER_FOLDER: ["unlabeled/x/1.jpg"]}),
        (photos("cat/train", "cat/val", "dog/train", "dog/val", "owl/1.jpg"), {layouts.NO_SPLIT_FOLDER: ["owl/1.jpg"]}),
        (photos("cat/train", "cat/val", "dog/train", "dog/1.jpg"), {layouts.BESIDE_SPLITS: ["dog/1.jpg"]}),
    ],
)  # fmt: skip
def test_photos_that_fit_no_class_folder_are_reported(paths, unread):
    layout = folder_layout(paths)
    assert isinstance(layout, FolderLayout)
    named: dict[str, list[str]] = {}
    for file in layout.unread:
        named.setdefault(file.reason, []).append(file.path)
    assert named == unread


@pytest.mark.parametrize(
    "paths, wanted, rows",
    [
        (photos("train", "test"), "class_folders", {"train": {"train": 4, "test": 4}}),
        (photos("train/cat", "test/cat"), "class_folders", {"train": {"train/cat": 4, "test/cat": 4}}),
        (photos("fold1/cat", "fold2/cat"), "split_folders", {"fold1": {"cat": 4}, "fold2": {"cat": 4}}),
        (photos("train/cat", "unlabeled/x"), "split_folders", {"train": {"cat": 4}, "unlabeled": {"x": 4}}),
        (photos("cat/train", "cat/val"), "class_split_folders", {"train": {"cat": 4}, "validation": {"cat": 4}}),
    ],
)  # fmt: skip
def test_the_layout_of_the_recipe_is_used(paths, wanted, rows):
    layout = folder_layout(paths, wanted)
    assert isinstance(layout, FolderLayout)
    assert classes(layout) == rows


@pytest.mark.parametrize(
    "paths, wanted, found",
    [
        ([], "auto", "no photos"),
        (["a.jpg"], "auto", "1 photo and no folder with photos"),
        (photos("train", "test"), "auto", "8 photos in 'test', 'train' and no folders of classes"),
        (photos("train"), "auto", "4 photos in 'train' and no folders of classes"),
        (photos("cat", "dog"), "split_folders", "8 photos in 2 folders ('cat', 'dog')"),
        (photos("cat", "dog"), "class_split_folders", "8 photos in 2 folders ('cat', 'dog')"),
    ],
)  # fmt: skip
def test_folders_that_do_not_fit_are_described(paths, wanted, found):
    layout = folder_layout(paths, wanted)
    assert isinstance(layout, Misfit)
    assert layout.found == found


def test_the_description_names_the_layout():
    assert folder_layout(photos("cat", "dog")).description == "class folders"
    assert (
        folder_layout(photos("train/cat", "val/cat", "test/cat")).description
        == "class folders, 3 splits by folder name"
    )
    assert folder_layout(photos("a/x", "b/x")).description.endswith(
        "if class folders have the same name, the path is used as the class"
    )


def test_rows_of_a_split_are_sorted_by_the_rank_of_the_folder_name_and_then_by_path():
    """The folder `train` comes first. Folders whose names begin with `train` follow, then names that end with it."""
    layout = folder_layout(["train/b/1.jpg", "train/a/2.jpg", "train/a/10.jpg", "a-train/a/1.jpg", "train-2/a/1.jpg"])
    assert [row.path for row in layout.splits["train"]] == [
        "train/a/10.jpg", "train/a/2.jpg", "train/b/1.jpg", "train-2/a/1.jpg", "a-train/a/1.jpg",
    ]  # fmt: skip
