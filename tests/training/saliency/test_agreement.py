"""Tests of the figures that compare maps with masks, on values that can be checked by hand."""

import pytest
import torch

from diffcore_hf.training.saliency.agreement import agreement, dilated


def square(side=10, low=2, high=5):
    """Return a mask with a square from row and column `low` to `high` - 1."""
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[:, low:high, low:high] = True
    return mask


def point(row, column, side=10):
    maps = torch.zeros(1, side, side)
    maps[0, row, column] = 2.0
    return maps


@pytest.mark.parametrize(
    ("maps", "energy", "hit"),
    [
        (point(2, 2), 1.0, 1.0),
        (point(5, 5), 0.0, 1.0),  # a hit: the tolerance is 8 % of 10 pixels, about one pixel
        (point(6, 2), 0.0, 0.0),
        (torch.ones(1, 10, 10), 0.09, 0.25),  # all pixels have the maximum
        (torch.zeros(1, 10, 10), 0.09, 0.25),  # a map of zeros has the values expected by chance
        (point(2, 2) + point(9, 9), 0.5, 0.5),
    ],
)
def test_energy_and_hit(maps, energy, hit):
    figures = agreement(maps, square())
    assert figures.energy.item() == pytest.approx(energy)
    assert figures.hit.item() == pytest.approx(hit)
    assert figures.area.item() == pytest.approx(0.09)
    assert figures.chance.item() == pytest.approx(0.25)  # 5 x 5 of 100 pixels are hits
    assert figures.empty.item() == float(not maps.any())


def test_the_scale_of_a_map_changes_no_figure():
    maps = torch.rand(4, 10, 10, generator=torch.Generator().manual_seed(0))
    first, second = (agreement(factor * maps, square().expand(4, -1, -1)) for factor in (1.0, 1e-20))
    assert all(torch.allclose(a, b) for a, b in zip(first, second, strict=True))


def test_random_maps_have_the_figures_of_chance():
    maps = torch.rand(4000, 10, 10, generator=torch.Generator().manual_seed(0))
    figures = agreement(maps, square().expand(4000, -1, -1))
    assert figures.energy.mean().item() == pytest.approx(0.09, abs=0.002)
    assert figures.hit.mean().item() == pytest.approx(0.25, abs=0.02)


def test_a_dilated_mask_ends_at_the_edge_of_the_image():
    assert dilated(square(6, 0, 1), 2)[0].sum() == 9


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        agreement(torch.ones(1, 4, 4), torch.ones(1, 5, 5, dtype=torch.bool))
