"""ResizeMix (Qin et al. 2020, arXiv:2012.11101): pastes the whole partner at a smaller size into an image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffcore_hf.training.mixers.base import BatchContext, MixerSetup
from diffcore_hf.training.mixers.options import interval, share
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners


class ResizeMix(PairwiseMixer):
    """Pastes the partner, resized to tau H x tau W with tau ~ U(smallest, largest), at a uniform position.

    The label weight is the share of the pixels: 1 - tau^2, up to the rounding to whole pixels. Resizing is bilinear and
    antialiased. The patch always lies completely inside the image.

    Args:
        setup: settings of all mixers.
        smallest: lower bound of tau, in [0, 1]; 0.1 in the paper.
        largest: upper bound of tau, in [0, 1]; 0.8 in the paper.
    """

    def __init__(self, setup: MixerSetup, *, smallest: float = 0.1, largest: float = 0.8):
        super().__init__(setup)
        smallest, largest = share("smallest", smallest), share("largest", largest)
        self.smallest, self.largest = interval(("smallest", "largest"), smallest, largest)

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return tau, and the vertical and horizontal position of the patch as shares of the free space."""
        tau = self.smallest + (self.largest - self.smallest) * random.random()
        return tau, random.random(), random.random()

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Paste the resized partner into each image."""
        height, width = context.images.shape[-2:]
        boxes = patch_boxes(drawn[:, 0], drawn[:, 1:], height, width)
        images = context.images.clone(memory_format=torch.preserve_format)
        for size in np.unique(boxes[:, 2:], axis=0):
            members = np.flatnonzero((boxes[:, 2:] == size).all(1))
            resized = functional.interpolate(
                _selected(partners.images, members).float(),
                size=(int(size[0]), int(size[1])),
                mode="bilinear",
                antialias=True,
            ).to(images.dtype)
            for patch, member in zip(resized, members, strict=True):
                top, left, rows, columns = boxes[member].tolist()
                images[member, :, top : top + rows, left : left + columns] = patch
        own_share = 1 - boxes[:, 2] * boxes[:, 3] / (height * width)
        return images, torch.from_numpy(own_share).float().to(images.device)


def _selected(images: Tensor, members: np.ndarray) -> Tensor:
    """Return some images of a batch. A single image is a slice, which needs no index on the device."""
    if len(members) == 1:
        return images.narrow(0, int(members[0]), 1)
    return images[torch.from_numpy(members).to(images.device)]


def patch_boxes(scales: np.ndarray, positions: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return boxes inside an image.

    Args:
        scales: (B,) side of the box as a share of height and width, in [0, 1].
        positions: (B, 2) vertical and horizontal position as shares of the free space, in [0, 1).
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        (B, 4) int64: top, left, height and width; a side has at least one pixel.
    """
    size = np.array([height, width])
    sides = np.maximum(np.rint(scales[:, None] * size), 1)
    first = np.floor(positions * (size - sides + 1))
    return np.concatenate([first, sides], axis=1).astype(np.int64)
