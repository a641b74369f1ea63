"""Agreement of saliency maps with masks of the object: figures, each with the value that is expected by chance.

Owns two figures. The energy is the share of a map inside the mask; by chance it equals the share of the area. The
pointing game (Zhang et al. 2016, arXiv:1608.00507) tests whether the maximum of a map lies in the mask or close to it.

A map of zeros shows no place, so both figures have the value of chance. If such maps were left out, networks with many
of them would have better figures.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

TOLERANCE = 0.08
"""Distance to the mask, as share of the image's side, at which the pointing game still counts a hit."""


class Agreement(NamedTuple):
    """Figures of each image, (B,) float64 in [0, 1]."""

    energy: Tensor
    """Share of the map inside the mask."""
    area: Tensor
    """Share of the image inside the mask: the energy of a constant map."""
    hit: Tensor
    """1 if the maximum of the map lies in the mask or close to it, else 0. If several pixels have the maximum, the
    share of them."""
    chance: Tensor
    """Share of the image in which a hit counts: the mean hit of a random pixel."""
    empty: Tensor
    """1 if the map is zero everywhere, else 0."""


def agreement(maps: Tensor, masks: Tensor, *, tolerance: float = TOLERANCE) -> Agreement:
    """Compare maps with masks.

    Args:
        maps: (B, H, W), at least 0.
        masks: (B, H, W) bool, true at the object.
        tolerance: distance for a hit, as share of the image's longer side.

    Raises:
        ValueError: the shapes differ.
    """
    if maps.shape != masks.shape:
        raise ValueError(f"maps {tuple(maps.shape)} and masks {tuple(masks.shape)} have different shapes")
    values, inside = maps.double(), masks.double()
    total = values.sum((1, 2))
    empty = total <= 0
    area = inside.mean((1, 2))
    energy = torch.where(empty, area, (values * inside).sum((1, 2)) / total.clamp_min(1e-300))
    near = dilated(masks, round(tolerance * max(masks.shape[1:]))).double()
    chance = near.mean((1, 2))
    highest = (values == values.amax((1, 2), keepdim=True)).double()
    hit = (highest * near).sum((1, 2)) / highest.sum((1, 2))
    return Agreement(energy, area, torch.where(empty, chance, hit), chance, empty.double())


def dilated(masks: Tensor, radius: int) -> Tensor:
    """Return masks that also contain the pixels at most `radius` rows and columns away: (B, H, W) bool -> same."""
    size = 2 * radius + 1
    return functional.max_pool2d(masks[:, None].float(), size, stride=1, padding=radius)[:, 0] > 0
