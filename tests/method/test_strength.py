"""Tests of the number of denoising steps for a strength of image-to-image."""

import pytest

from diffcore_hf.method.strength import denoising_steps, smallest_strength


@pytest.mark.parametrize(
    ("steps", "strength", "denoised"),
    [(25, 0.15, 3), (25, 0.5, 12), (50, 0.5, 25), (25, 0.7, 17), (100, 0.29, 28), (16, 0.06, 0), (4, 1.0, 4)],
)
def test_the_product_is_rounded_down(steps, strength, denoised):
    assert denoising_steps(steps, strength) == denoised


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 16, 25, 30, 49, 50, 100, 999, 1000])
def test_the_smallest_strength_leaves_one_step(steps):
    assert denoising_steps(steps, smallest_strength(steps)) == 1
