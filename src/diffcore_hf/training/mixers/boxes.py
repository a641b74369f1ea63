"""Boxes in images, drawn in shares of the sides and rounded to pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def clipped_boxes(centres: np.ndarray, sides: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes around uniform centres, cut off at the border of the image.

    Each edge is rounded to the nearest pixel, so that a box has the drawn size on average; rounding side and centre
    down, as the code of CutMix does, makes boxes smaller than the formula by about a pixel in each direction.

    Args:
        centres: (B, 2) rows and columns, in shares of height and width.
        sides: (B,) the side in shares of height and width, in [0, 1].
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        (B, 4) int64: top, left, height, width; none negative, all inside the image.
    """
    size = np.array([height, width])
    half = sides[:, None] / 2
    first = np.clip(np.rint((centres - half) * size), 0, size)
    last = np.clip(np.rint((centres + half) * size), 0, size)
    return np.concatenate([first, last - first], axis=1).astype(np.int64)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """(B, 4) boxes (top, left, height, width) -> (B, 1, H, W) bool: the pixels in them."""
    top, left, tall, wide = (side.reshape(-1, 1, 1, 1) for side in boxes.unbind(-1))
    rows = torch.arange(height, device=boxes.device).reshape(-1, 1)
    columns = torch.arange(width, device=boxes.device)
    return (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
