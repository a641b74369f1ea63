"""Tests of identical images, which are grouped by hash within a class, across classes and across splits."""

import numpy as np
import pytest

from diffcore_hf.augmentation.source.identical import find_identical, first_of_class, in_other_splits


def labels(**splits: list[int]) -> dict[str, np.ndarray]:
    return {name: np.array(values, np.int64) for name, values in splits.items()}


def rows(groups: tuple) -> list[list[tuple[str, int]]]:
    return [[(place.split, place.row) for place in group] for group in groups]


def test_rows_with_equal_images_are_grouped_within_a_class_across_classes_and_across_splits():
    sha256 = {"train": ["a", "a", "b", "c", None, None, "d"], "test": ["d", "b", "e"]}
    found = find_identical(sha256, labels(train=[0, 0, 0, 1, 0, 0, 1], test=[1, 1, 0]))
    assert rows(found.within_class) == [[("train", 0), ("train", 1)]]
    assert rows(found.across_classes) == [[("train", 2), ("test", 1)]]
    assert rows(found.across_splits) == [[("train", 2), ("test", 1)], [("train", 6), ("test", 0)]]


def test_equal_images_can_be_in_groups_of_all_three_kinds():
    found = find_identical({"train": ["a", "a", "a"], "test": ["a"]}, labels(train=[0, 0, 1], test=[0]))
    assert [len(groups) for groups in found] == [1, 1, 1]
    assert len(found.within_class[0]) == 4


def test_a_row_without_a_class_conflicts_with_no_class():
    found = find_identical({"train": ["a", "a"]}, labels(train=[-1, 0]))
    assert rows(found.within_class) == rows(found.across_classes) == []


@pytest.mark.parametrize(
    "train, test, expected",
    [(["a", "b"], ["b"], [False, True]), ([None, "a"], [None], [False, False]), (["a"], [], [False])],
)
def test_a_row_with_an_image_of_another_split_is_found(train, test, expected):
    heldout = np.zeros(len(train), bool)
    assert in_other_splits({"train": train, "test": test}, "train", heldout).tolist() == expected


def test_a_row_with_the_image_of_a_held_out_row_is_found():
    heldout = np.array([True, False, False])
    assert in_other_splits({"train": ["a", "a", "b"]}, "train", heldout).tolist() == [False, True, False]


def test_only_the_first_of_equal_images_in_a_class_is_marked():
    first = first_of_class(["a", "a", "a", None, None, "b"], np.array([0, 1, 0, 0, 0, 0]))
    assert first.tolist() == [True, True, False, True, True, True]
