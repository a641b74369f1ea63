"""Tests of the scores of small examples with known results."""

from __future__ import annotations

import numpy as np
import pytest

from diffcore_hf.training.engine.metrics import score


def test_top1_top5_and_accuracy_by_class():
    ranked = np.array([[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [5, 4, 3, 2, 1], [2, 0, 1, 3, 4]])
    scores = score(ranked, np.array([0, 0, 0, 2]), classes=6)
    assert (scores.top1, scores.top5, scores.count) == (0.5, 0.75, 4)
    assert scores.by_class == [pytest.approx(1 / 3), None, 1.0, None, None, None]


def test_each_group_is_scored_without_its_unreadable_images():
    ranked = np.array([[0, 1], [1, 0], [1, 0], [0, 1]])
    scores = score(ranked, np.array([0, 0, 1, -100]), classes=2, groups=["snow", "night", "snow", "fog"])
    assert scores.by_group == {"night": 0.0, "snow": 1.0}
    assert score(ranked, np.array([0, 0, 1, 0]), classes=2).by_group is None


def test_unreadable_images_are_counted_separately():
    scores = score(np.array([[0, 1], [1, 0]]), np.array([0, -100]), classes=2)
    assert (scores.top1, scores.count, scores.unreadable) == (1.0, 1, 1)


def test_a_split_without_readable_images_raises_an_error():
    with pytest.raises(ValueError, match="none of the images of the scored split can be read"):
        score(np.array([[0, 1]]), np.array([-100]), classes=2)
