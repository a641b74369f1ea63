"""Boxes in images: converts positions and sizes relative to the image to whole pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


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
