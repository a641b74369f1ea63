"""Boxes in images: converts positions and sizes relative to the image to whole pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def clipped_boxes(centres: np.ndarray, sides: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return boxes around the centres, clipped at the border of the image.

    Each edge is rounded to the nearest pixel, so that a box has the drawn size on average. The published code of CutMix
    rounds side and centre down. Its boxes are therefore about one pixel smaller than the formula in each direction.

    Args:
        centres: (B, 2) row and column, as shares of height and width.
        sides: (B,) the side as a share of height and width, in [0, 1].
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        (B, 4) int64: top, left, height and width, inside the image.
    """
    size = np.array([height, width])
    half = sides[:, None] / 2
    first = np.clip(np.rint((centres - half) * size), 0, size)
    last = np.clip(np.rint((centres + half) * size), 0, size)
    return np.concatenate([first, last - first], axis=1).astype(np.int64)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return the pixels inside boxes: (B, 4) top, left, height, width -> (B, 1, H, W) bool."""
    top, left, box_height, box_width = (side.reshape(-1, 1, 1, 1) for side in boxes.unbind(-1))
    rows = torch.arange(height, device=boxes.device).reshape(-1, 1)
    columns = torch.arange(width, device=boxes.device)
    return (rows >= top) & (rows < top + box_height) & (columns >= left) & (columns < left + box_width)


def resized_boxes(images: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Resize one box of each image to the size and position of another box, with bilinear interpolation.

    Inside the target box the result equals `interpolate(box, mode="bilinear", align_corners=False)`. The pixels outside
    the target box repeat its border.

    Args:
        images: (B, C, H, W).
        source: (B, 4) top, left, height and width of the box to read; not empty where the target is not empty.
        target: (B, 4) top, left, height and width of the box to write.

    Returns:
        (B, C, H, W), same dtype as `images`.
    """
    height, width = images.shape[-2:]
    rows = _positions(height, source[:, 0], source[:, 2], target[:, 0], target[:, 2])
    columns = _positions(width, source[:, 1], source[:, 3], target[:, 1], target[:, 3])
    shape = (len(images), height, width)
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    sampled = functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return sampled.to(images.dtype)


def _positions(size: int, first: Tensor, length: Tensor, target_first: Tensor, target_length: Tensor) -> Tensor:
    """Return the position to read for each pixel on one axis: (B,) each -> (B, size) float32, -1 to 1 over the axis."""
    pixels = torch.arange(size, device=first.device) - target_first[:, None] + 0.5
    scale = length / target_length.clamp_min(1)
    read = first[:, None] + pixels * scale[:, None] - 0.5
    read = read.clamp(first[:, None], (first + length - 1).clamp_min(0)[:, None])
    return (2 * read + 1) / size - 1
