"""Scores computed by hand; the metric works offline."""

from __future__ import annotations

import numpy as np
import pytest

from diffcore_hf.training.engine.metrics import score


def test_scores_by_hand():
    ranked = np.array([[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [5, 4, 3, 2, 1], [2, 0, 1, 3, 4]])
    scores = score(ranked, np.array([0, 0, 0, 2]), classes=6)
    assert (scores.top1, scores.top5, scores.count) == (0.5, 0.75, 4)
    assert scores.by_class == [pytest.approx(1 / 3), None, 1.0, None, None, None]


def test_groups_are_scored_one_by_one_without_what_cannot_be_read():
    ranked = np.array([[0, 1], [1, 0], [1, 0], [0, 1]])
    scores = score(ranked, np.array([0, 0, 1, -100]), classes=2, groups=["snow", "night", "snow", "fog"])
    assert scores.by_group == {"night": 0.0, "snow": 1.0}
    assert score(ranked, np.array([0, 0, 1, 0]), classes=2).by_group is None


def test_unreadable_images_are_counted_apart():
    scores = score(np.array([[0, 1], [1, 0]]), np.array([0, -100]), classes=2)
    assert (scores.top1, scores.count, scores.unreadable) == (1.0, 1, 1)


def test_nothing_to_score_is_one_line():
    with pytest.raises(ValueError, match="none of the images of the scored split can be read"):
        score(np.array([[0, 1]]), np.array([-100]), classes=2)
