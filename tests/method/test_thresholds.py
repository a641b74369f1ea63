"""Tests of Eq. 5: the closed form, the sum over shards, sampled pairs, and similarities to the other images."""

import warnings
from itertools import combinations

import numpy as np
import pytest

from diffcore_hf.method.thresholds import (
    PairSums,
    class_threshold,
    pooled_threshold,
    row_cosines,
    sampled_threshold,
    unit_rows,
)

RNG = np.random.default_rng(0)


def over_all_pairs(embeddings):
    unit = [row / np.linalg.norm(row) for row in embeddings.astype(np.float64)]
    return np.mean([a @ b for a, b in combinations(unit, 2)])


@pytest.mark.parametrize(("count", "width"), [(2, 1), (2, 3), (5, 4), (40, 64)])
def test_the_closed_form_is_the_mean_over_all_pairs(count, width):
    embeddings = (RNG.normal(size=(count, width)) + 1).astype(np.float16)
    assert class_threshold(embeddings) == pytest.approx(over_all_pairs(embeddings), abs=1e-12)


@pytest.mark.parametrize(
    ("embeddings", "tau"),
    [
        ([[1, 0], [0, 1]], 0.0),
        ([[1, 0], [5, 0]], 1.0),
        ([[1, 0], [-2, 0]], -1.0),
        ([[1, 0], [0, 1], [1, 0]], 1 / 3),  # pairs: 0, 1, 0
    ],
)
def test_the_threshold_equals_a_number_computed_by_hand(embeddings, tau):
    assert class_threshold(np.array(embeddings, np.float16)) == pytest.approx(tau, abs=1e-12)


def test_one_image_has_no_pairs():
    with pytest.raises(ValueError, match="pooled_threshold"):
        class_threshold(np.ones((1, 3)))


def test_the_sum_of_shards_gives_the_thresholds_of_all_images():
    embeddings, labels = RNG.normal(size=(30, 5)).astype(np.float16), RNG.integers(0, 4, 30)
    whole = PairSums.of(embeddings, labels, 5)
    merged = sum((PairSums.of(embeddings[i], labels[i], 5) for i in np.split(np.arange(30), [1, 1, 17])[1:]),
                 PairSums.of(embeddings[:1], labels[:1], 5))  # fmt: skip
    np.testing.assert_allclose(merged.class_thresholds(), whole.class_thresholds(), atol=1e-12)
    for k in range(4):
        assert whole.class_thresholds()[k] == pytest.approx(over_all_pairs(embeddings[labels == k]), abs=1e-12)
    assert np.isnan(whole.class_thresholds()[4])  # a class without images
    assert merged.pooled_threshold() == pytest.approx(whole.pooled_threshold(), abs=1e-12)


def test_the_pooled_threshold_counts_every_pair_once():
    # The cosines of the pairs are 0, 0, 1 in class 0 and 1 in class 1. Class 2 has no pair. The mean is 2 / 4.
    embeddings = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [1, 0], [0, 1]], np.float16)
    assert pooled_threshold(embeddings, np.array([0, 0, 0, 1, 1, 2])) == pytest.approx(0.5, abs=1e-12)
    assert np.isnan(pooled_threshold(embeddings[:2], np.array([0, 1])))


def test_sampled_pairs_are_seeded_pairs_of_different_images():
    embeddings = (RNG.normal(size=(60, 8)) + 0.7).astype(np.float16)
    tau = class_threshold(embeddings)
    assert sampled_threshold(embeddings, 1500, 0, 3) == sampled_threshold(embeddings, 1500, 0, 3)
    assert sampled_threshold(embeddings, 1500, 0, 3) != sampled_threshold(embeddings, 1500, 1, 3)
    assert sampled_threshold(embeddings, 1500, 0, 3) == pytest.approx(tau, abs=0.05)
    assert sampled_threshold(embeddings, 60 * 59 // 2, 0, 3) == tau  # all 60 * 59 / 2 pairs are sampled
    orthogonal = np.eye(10)
    assert sampled_threshold(orthogonal, 40, 0, 0) == 0  # an image is never paired with itself


def test_left_out_similarities_equal_numbers_computed_by_hand():
    # Class 0 has the directions 0, 90 and 45 degrees. The mean of two of them is compared with the third.
    embeddings = np.array([[1, 0], [0, 1], [1, 1], [1, 0]], np.float16)
    labels = np.array([0, 0, 0, 1])
    similarities = PairSums.of(embeddings, labels, 2).left_out_similarities(embeddings, labels)
    others = unit_rows(np.array([[0.5**0.5, 1 + 0.5**0.5]]))[0]
    np.testing.assert_allclose(similarities[:3], [others[0], others[0], 1], atol=1e-12)
    assert np.isnan(similarities[3])


def test_zero_rows_stay_zero_and_infinite_rows_give_nan():
    assert unit_rows(np.zeros((1, 2), np.float16)).tolist() == [[0, 0]]
    bad = np.array([[np.nan, 1], [np.inf, 1]], np.float16)
    assert np.isnan(row_cosines(bad, np.ones((2, 2)))).all()
    assert row_cosines(np.array([[3.0, 4.0]]), np.array([[3.0, 4.0]]))[0] == 1


def test_a_class_without_images_has_no_mean_even_if_its_total_is_rounded():
    sums = PairSums(np.array([2, 0]), np.array([[1.0, 0.5], [1e-17, -1e-17]]), np.array([2.0, 0.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sums.means()[0].tolist() == [0.5, 0.25]
        assert np.isnan(sums.means()[1]).all()
