"""Tests of the stage `Score`, which compares generated images with real images."""

from __future__ import annotations

import pytest
import torch

from diffcore_hf.augmentation.stages.score import Score
from diffcore_hf.core.batch_size import BatchSize


def noise(*size, seed=0):
    return torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_similarity_is_the_cosine(tower):
    stage = Score(tower)
    real, drawn = [noise(30, 40), noise(64, 64, seed=1)], [noise(16, 16, seed=2), noise(64, 64, seed=1)]
    left, right = (stage.tower.embed(side) for side in (real, drawn))
    assert stage.score(real, drawn).tolist() == pytest.approx((left * right).sum(1).tolist(), abs=2e-3)
    assert stage.score(real, drawn)[1] == pytest.approx(1.0, abs=1e-6)


def test_the_similarity_is_null_if_one_of_the_images_is_missing_or_unreadable(tower, photos):
    broken = {"bytes": b"no image", "path": None}
    rows = Score(tower)([photos[0], None, photos[1], broken], [photos[0], photos[1], None, photos[2]])
    assert rows["similarity"][0] == pytest.approx(1.0, abs=1e-6)
    assert rows["similarity"][1:] == [None, None, None]


def test_more_rows_than_one_batch_give_the_same_scores(tower, photos):
    whole = Score(tower)
    small = Score(tower)
    small.tower._batch_size = BatchSize(3)
    columns = photos * 5, photos[1:] * 6 + photos[:2]
    assert whole(*columns)["similarity"] == pytest.approx(small(*columns)["similarity"], abs=1e-6)
