"""Maps of training rows: computed once from the whole image of each row, and cropped like the samples.

Owns the stored maps and the part of a map that a sample shows. The mixer computes the maps themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from diffcore_hf.training.data.row_images import RowImages
from diffcore_hf.training.mixers.base import BatchContext

LARGEST = 16
"""Largest side of a stored map, which bounds the memory to 512 bytes for each row. A larger map is averaged."""


@dataclass(frozen=True)
class RowMaps:
    """The map of each training row."""

    rows: RowImages
    maps: Tensor
    """(N, h, w) float16 on the CPU, from 0 (the lowest value of a row) to 1. Rows that are not read have zeros."""

    def of_batch(self, context: BatchContext, grid: int) -> Tensor:
        """Return the parts of the maps that the images of a batch show, (B, grid, grid) float32 on their device."""
        assert context.views is not None
        maps = self.maps[torch.from_numpy(self.rows.rows_of(context.keys))].float()
        return seen(maps, context.views, grid).to(context.images.device)


def row_maps(rows: RowImages, side: int, activity: Callable[[Tensor], Tensor]) -> RowMaps:
    """Compute the map of each row that the training reads.

    Args:
        rows: the rows and their images.
        side: side in pixels to which the images are scaled.
        activity: function of images (B, 3, side, side) that returns (B, h, w) float32.
    """
    stored: Tensor | None = None
    for indices, images in rows.squares(side):
        maps = scaled(activity(images))
        if stored is None:
            stored = torch.zeros(rows.count, *maps.shape[1:], dtype=torch.float16)
        stored[torch.from_numpy(indices)] = maps.to(stored)
    if stored is None:  # this process has no rows
        stored = torch.zeros(rows.count, *scaled(activity(torch.zeros(1, 3, side, side, device=rows.device))).shape[1:])
    return RowMaps(rows, rows.joined(stored.half()).cpu())


def scaled(maps: Tensor) -> Tensor:
    """Return maps (B, h, w) with at most 16 positions in each direction, from 0 to 1. A constant map becomes zero."""
    height, width = (min(side, LARGEST) for side in maps.shape[1:])
    maps = functional.adaptive_avg_pool2d(maps[:, None], (height, width))[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def seen(maps: Tensor, views: Tensor, grid: int) -> Tensor:
    """Return the parts of maps that samples show, as grid x grid cells.

    A cell is the mean of bilinear values at equally spaced points. A whole image has the same cells as its map, if the
    side of the map is a multiple of the grid. Points outside the image have the value zero.

    Args:
        maps: (B, h, w) float32.
        views: (B, 5) float32: `framing.View` of each sample.
        grid: number of cells in each direction.

    Returns:
        (B, grid, grid) float32.
    """
    points = [grid * max(1, math.ceil(side / grid)) for side in maps.shape[1:]]
    y, x = (
        views[:, axis, None] + views[:, axis + 2, None] * (torch.arange(count) + 0.5) / count
        for axis, count in enumerate(points)
    )
    x = torch.where(views[:, 4, None] > 0, x.flip(1), x)
    places = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    values = functional.grid_sample(
        maps[:, None], 2 * places - 1, mode="bilinear", padding_mode="border", align_corners=False
    )
    inside = ((places >= 0) & (places <= 1)).all(-1)
    return functional.adaptive_avg_pool2d(values * inside[:, None], grid)[:, 0]
