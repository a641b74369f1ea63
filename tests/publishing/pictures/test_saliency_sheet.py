"""Tests of the sheet of saliency maps."""

import numpy as np
import pytest

from diffcore_hf.publishing.pictures.saliency_sheet import HIGHEST, SaliencyTile, heat, saliency_sheet


def tile(energy=0.4, side=16, predicted="wren"):
    mask = np.zeros((side, side), bool)
    mask[4:8, 4:8] = True
    pixels = np.full((side, side, 3), 128, np.uint8)
    values = np.ones((side, side), np.float32)
    return SaliencyTile(pixels, values, mask if energy is not None else None, "wren", predicted, 0.7, energy)


def test_the_scale_of_a_map_does_not_change_its_colours():
    pixels = np.full((8, 8, 3), 100, np.uint8)
    values = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    assert np.array_equal(heat(pixels, values), heat(pixels, 1000 * values))


def test_values_above_the_highest_have_one_colour_and_zeros_have_none():
    pixels = np.full((10, 10, 3), 100, np.uint8)
    values = np.zeros((10, 10), np.float32)
    assert np.ptp(heat(pixels, values)) == 0
    values[0, :2] = [1, 2]  # the mean is 0.03, so both are more than HIGHEST times the mean
    colours = heat(pixels, values)
    assert values[0, 0] / values.mean() > HIGHEST
    assert np.array_equal(colours[0, 0], colours[0, 1])
    assert not np.array_equal(colours[0, 0], colours[5, 5])


@pytest.mark.parametrize("arms", [1, 2, 7, 18])
@pytest.mark.parametrize("energy", [None, 0.4])
def test_equal_arguments_give_equal_pixels_of_a_bounded_size(arms, energy):
    names = [f"arm {number}" for number in range(arms)]
    rows = [[tile(energy, predicted="a species with a very long name")] * arms] * 3
    texts = {"title": "Title", "legend": "Legend"}
    first, second = (saliency_sheet(names, rows, **texts) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert first.width <= 2400 and first.height <= 1200
