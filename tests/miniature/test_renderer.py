"""Tests of the mask of a bird, against the pixels that change when the bird is drawn."""

from dataclasses import replace

import numpy as np
import pytest

from diffcore_hf.miniature import renderer
from diffcore_hf.miniature.renderer import compose, draw_picture, mask
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import SPECIES


def changed_pixels(species, draw, size, monkeypatch):
    """Return the pixels that differ between pictures with and without the bird, in any context."""
    changed = np.zeros((size, size), bool)
    for context in CONTEXTS:
        with_bird = np.asarray(compose(species, context, draw, size))
        with monkeypatch.context() as patch:
            patch.setattr(renderer, "bird", lambda species, raised: ())
            without = np.asarray(compose(species, context, draw, size))
        changed |= (with_bird != without).any(axis=2)
    return changed


@pytest.mark.parametrize("species", SPECIES, ids=lambda species: species.name)
@pytest.mark.parametrize("flies", [False, True], ids=["sits", "flies"])
def test_the_mask_has_the_pixels_that_the_bird_changes(species, flies, monkeypatch):
    draw = replace(draw_picture(np.random.default_rng(species.id)), flies=flies, faces_left=species.id % 2 == 0)
    assert np.array_equal(mask(species, draw, 48), changed_pixels(species, draw, 48, monkeypatch))


@pytest.mark.parametrize("size", [16, 33, 64])
def test_the_mask_has_the_size_of_the_picture(size):
    covered = mask(SPECIES[0], draw_picture(np.random.default_rng(0)), size)
    assert covered.shape == (size, size)
    assert covered.dtype == bool
    assert 0.1 < covered.mean() < 0.5
