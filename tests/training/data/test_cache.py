"""Tests of the cache of decoded images: samples have the same pixels with and without it."""

from __future__ import annotations

import pytest
import torch
from train_batches import batches_of


@pytest.mark.parametrize(
    "mix",
    [{}, {"mode": "off"}, {"mode": "replace", "probability": 0.5}, {"kind": "none"}, {"partner": "real_same_class"}],
    ids=str,
)
def test_samples_from_the_cache_have_the_same_pixels(train_recipe, mix):
    recipe = train_recipe(mix=mix)
    base, cached = batches_of(recipe), batches_of(train_recipe(mix=mix, cache="memory"), workers=2)
    # With a cache, a partner from a pool is resized twice: to its own frame, and then to the frame of the row.
    if mix.get("partner"):
        assert (base[0].float() - cached[0].float()).abs().mean() < 6
    else:
        assert torch.equal(base[0], cached[0])
    assert torch.equal(base[1], cached[1])


def test_a_preset_that_crops_before_mixing_cannot_be_cached(train_recipe):
    with pytest.raises(ValueError, match="cache is 'memory', but the preset of the transform crops before"):
        batches_of(train_recipe(cache="memory", transform={"preset": "imagenet_300"}))
