"""The network with ImageNet weights: the folder of the weights, and the embeddings that the filter computes with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.evidence.worlds import locked
from benchmarks.imagenet_weights import WEIGHTS, write_weights
from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core.images import decode_pixels
from diffcore_hf.models.towers import ImageTower

NET = "lite0"
"""The network of all measurements on photographs, a key of imagenet_weights.WEIGHTS."""
_BATCH = 64


def weights_folder(work: Path, net: str = NET) -> Path:
    """Returns the folder of ImageNet weights; writes it if it does not exist."""
    folder = work / "weights" / net
    with locked(folder):
        return write_weights(folder, WEIGHTS[net])


def embedded(work: Path, cells: Sequence[Any]) -> np.ndarray:
    """Returns the embeddings of images, (N, d) float16 as a run stores them.

    Each image is given as a cell with its encoded bytes.
    """
    tower = _tower(os.fspath(weights_folder(work)))
    parts = []
    for first in range(0, len(cells), _BATCH):
        pixels = [torch.from_numpy(decode_pixels(cell)).permute(2, 0, 1) for cell in cells[first : first + _BATCH]]
        parts.append(tower.embed(pixels))
    return torch.cat(parts).numpy().astype(np.float16)


@cache
def _tower(path: str) -> ImageTower:
    return ImageTower(FilterConfig(path=path), device="cpu", batch_size=_BATCH)
