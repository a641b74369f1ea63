"""Tests of the sample for the figures of a card: its bounds, its choice by hash, and the sentence about it."""

import numpy as np
import pytest

from benchmarks.describing import random_images
from diffcore_hf.publishing.description import sample
from diffcore_hf.publishing.description.sample import chosen_rows, sample_note, sampled


def test_a_small_dataset_is_its_own_sample():
    images = random_images(40, 3, 4)
    assert sampled(images).kept_keys == images.kept_keys
    assert sample_note(images, sampled(images)) == ""


@pytest.mark.parametrize(("classes", "most", "size"), [(2, 30, 20), (6, 30, 5), (10, 30, 5), (3, 60, 20)])
def test_a_large_class_has_a_bounded_number_of_images(classes, most, size, monkeypatch):
    monkeypatch.setattr(sample, "MOST", most)
    monkeypatch.setattr(sample, "MOST_OF_CLASS", 20)
    images = random_images(30 * classes, classes, 4)
    found = sampled(images)
    expected = min(size, most // classes) if most // classes > 5 else 5
    assert np.bincount(found.kept_labels).tolist() == np.bincount(found.real_labels).tolist() == [expected] * classes
    rows = [images.kept_keys.index(key) for key in found.kept_keys]
    assert rows == sorted(rows)
    assert np.array_equal(found.kept, images.kept[rows])
    assert np.array_equal(found.kept_labels, images.kept_labels[rows])
    total = expected * classes
    assert sample_note(images, found) == (
        f"The figures use {total} of {30 * classes} kept images and {total} of {30 * classes} real images, chosen by a "
        "hash."
    )


def test_the_choice_depends_on_the_keys_and_not_on_the_order():
    labels = np.arange(60) % 3
    keys = [(f"train/{row}", row % 2) for row in range(60)]
    order = np.random.default_rng(1).permutation(60)
    chosen = {keys[row] for row in chosen_rows(labels, keys, 4).tolist()}
    shuffled = [keys[row] for row in order]
    assert {shuffled[row] for row in chosen_rows(labels[order], shuffled, 4).tolist()} == chosen
    assert chosen < {keys[row] for row in chosen_rows(labels, keys, 9).tolist()}
