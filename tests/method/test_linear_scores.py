"""Tests of linear scores: ranks in float32 equal those in float64, also for scores that nearly tie."""

import numpy as np
import pytest

from diffcore_hf.method.linear_scores import LinearScores, worst_ranks
from diffcore_hf.method.thresholds import unit_rows

NAN = float("nan")


def random_scores(rng, classes=40, width=24):
    return LinearScores(rng.normal(size=(width, classes)), rng.normal(size=classes) / 10)


def nearly_tied(rng, size):
    """Returns scores of 30 classes and of a copy of each class, whose scores differ by about `size` from the class."""
    first = random_scores(rng, 30)
    twin = first.weights + size * rng.normal(size=first.weights.shape)
    return LinearScores(np.hstack([first.weights, twin]), np.hstack([first.offsets] * 2))


def with_unknown(rng):
    scores = random_scores(rng)
    scores.weights[:, [0, 7]] = NAN
    scores.offsets[[0, 7]] = NAN
    return scores


CASES = {
    "random": random_scores,
    "equal": lambda rng: nearly_tied(rng, 0),
    "below the tolerance": lambda rng: nearly_tied(rng, 1e-13),
    "invisible in float32": lambda rng: nearly_tied(rng, 1e-8),
    "at the precision of float32": lambda rng: nearly_tied(rng, 1e-6),
    "classes that cannot be ranked": with_unknown,
    "only such classes": lambda rng: LinearScores(np.full((24, 5), NAN), np.full(5, NAN)),
    "one class": lambda rng: random_scores(rng, 1),
    "large weights with a common part": lambda rng: LinearScores(
        100 + rng.normal(size=(24, 40)) / 1000, rng.normal(size=40) / 1000
    ),
    "weights of different sizes": lambda rng: LinearScores(
        rng.normal(size=(24, 40)) * 10.0 ** rng.integers(-9, 9, 40), np.zeros(40)
    ),
    "too large for float32": lambda rng: LinearScores(1e39 * rng.normal(size=(24, 40)), np.zeros(40)),
}


@pytest.mark.parametrize("case", CASES)
def test_ranks_equal_those_of_scores_in_float64(case):
    rng = np.random.default_rng(0)
    scores = CASES[case](rng)
    unit = unit_rows(rng.normal(size=(400, 24)))
    unit[3], unit[5] = 0, NAN
    labels = rng.integers(0, len(scores.offsets), 400)
    expected = worst_ranks(scores.of(unit), labels)
    assert expected[5] == 0
    assert scores.ranks(unit, labels).tolist() == expected.tolist()


def test_the_score_of_the_own_class_can_be_given():
    rng = np.random.default_rng(1)
    scores, unit, labels = random_scores(rng), unit_rows(rng.normal(size=(200, 24))), rng.integers(0, 40, 200)
    own = rng.normal(size=200)
    own[4] = NAN
    table = scores.of(unit)
    table[np.arange(200), labels] = own
    assert scores.ranks(unit, labels, own).tolist() == worst_ranks(table, labels).tolist()


def test_only_scores_near_that_of_the_own_class_are_computed_in_float64(monkeypatch):
    scores = random_scores(np.random.default_rng(2), classes=500)
    unit = unit_rows(np.random.default_rng(3).normal(size=(300, 24)))
    labels = np.arange(300)
    expected = worst_ranks(scores.of(unit), labels)
    monkeypatch.setattr(LinearScores, "of", lambda *_: pytest.fail("all scores are computed in float64"))
    assert scores.ranks(unit, labels).tolist() == expected.tolist()
