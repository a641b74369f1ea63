"""Transport of image blocks into the visible part of a mask (PuzzleMix, Kim et al. 2020, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST_COST = 2**25
"""Largest number of entries of the cost matrices that are computed at once."""


def block_sources(saliency: Tensor, mask: Tensor, distance_weight: float) -> Tensor:
    """Return which block is shown at each position, so that salient blocks lie where the mask shows the image.

    Moving block i to position j costs distance_weight * d^2 / (n - 1)^2 - saliency_i * [mask_j > 0], with the distance
    d in blocks and the longest side n of the grid. In each of n rounds every block selects its cheapest position. Where
    several blocks select one position, the cheapest block keeps it, and the cost of the other blocks rises by 1. A
    position without a block keeps its own block.

    Args:
        saliency: (B, n, m), not negative.
        mask: (B, n, m): weight of the image at each position.
        distance_weight: weight of the distance, not negative.

    Returns:
        (B, n, m) int64: row-major index of the block that is shown at each position.
    """
    count, height, width = saliency.shape
    blocks = height * width
    if blocks == 1:
        return torch.zeros_like(saliency, dtype=torch.int64)
    chunk = max(1, _LARGEST_COST // blocks**2)
    parts = [
        _sources(saliency[first : first + chunk], mask[first : first + chunk], distance_weight)
        for first in range(0, count, chunk)
    ]
    return torch.cat(parts).reshape(count, height, width)


def _sources(saliency: Tensor, mask: Tensor, distance_weight: float) -> Tensor:
    count, height, width = saliency.shape
    blocks, side = height * width, max(height, width)
    grid = torch.cartesian_prod(*(torch.arange(length, device=mask.device) for length in (height, width))).float()
    distance = (grid[:, None] - grid).square().sum(-1) / (side - 1) ** 2
    visible = (mask.reshape(count, 1, blocks) > 0).float()
    cost = distance_weight * distance - saliency.reshape(count, blocks, 1).float() * visible
    for _ in range(side):
        selected = torch.zeros_like(cost, dtype=torch.bool).scatter_(2, cost.argmin(2, keepdim=True), True)
        winner = torch.where(selected, cost, torch.inf).argmin(1, keepdim=True)
        lost = selected.scatter(1, winner, False)
        cost = cost + lost
    selected = torch.zeros_like(cost, dtype=torch.bool).scatter_(2, cost.argmin(2, keepdim=True), True)
    winner = torch.where(selected, cost, torch.inf).argmin(1)
    own = torch.arange(blocks, device=mask.device).expand(count, blocks)
    return torch.where(selected.any(1), winner, own)


def moved_blocks(images: Tensor, sources: Tensor) -> Tensor:
    """Return images (B, C, H, W) that show the block `sources` (B, n, m) at each position; n divides H, and m W."""
    count, channels, height, width = images.shape
    rows, columns = sources.shape[1:]
    cells = images.reshape(count, channels, rows, height // rows, columns, width // columns)
    cells = cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    index = sources.flatten(1)[:, :, None, None, None].expand_as(cells)
    moved = cells.gather(1, index).reshape(count, rows, columns, channels, height // rows, width // columns)
    return moved.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
