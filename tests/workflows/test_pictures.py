"""Tests of the choice of pairs that a histogram shows."""

import numpy as np
import pytest

from diffcore_hf.workflows.pictures import same_class_pairs


def pairs(sizes, most, seed=0):
    """Returns pairs as tuples; the members of class k are 100000 k, 100000 k + 1, ..."""
    left, right = same_class_pairs([100_000 * k + np.arange(size) for k, size in enumerate(sizes)], most, seed)
    return list(zip(left.tolist(), right.tolist(), strict=True))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([0, 1], []),
        ([3], [(0, 1), (0, 2), (1, 2)]),
        ([1, 2, 0, 3], [(100000, 100001), (300000, 300001), (300000, 300002), (300001, 300002)]),
    ],
)
def test_few_pairs_are_all_returned(sizes, expected):
    assert sorted(pairs(sizes, 100)) == expected


def test_every_pair_of_a_large_class_is_returned_once():
    drawn = pairs([700], 10**6)
    assert len(drawn) == len(set(drawn)) == 700 * 699 // 2
    assert all(0 <= i < j < 700 for i, j in drawn)


def test_many_pairs_are_drawn_uniformly():
    drawn = pairs([20_000, 20_000, 2], 5_000)
    assert len(drawn) == len(set(drawn)) == 5_000
    assert all(i < j and i // 100_000 == j // 100_000 for i, j in drawn)
    assert sum(j < 100_000 for _, j in drawn) == pytest.approx(2_500, abs=200)
    # The mean of the larger index of a uniform pair is two thirds of the number of members.
    assert np.mean([j % 100_000 for _, j in drawn]) == pytest.approx(20_000 * 2 / 3, rel=0.03)
    assert drawn == pairs([20_000, 20_000, 2], 5_000)
    assert drawn != pairs([20_000, 20_000, 2], 5_000, seed=1)
