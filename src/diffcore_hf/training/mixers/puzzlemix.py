"""PuzzleMix (Kim et al. 2020, arXiv:2009.06962): optimal masks and transport of blocks by saliency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcore_hf.training.mixers.base import BatchContext, MixerSetup
from diffcore_hf.training.mixers.block_transport import block_sources, moved_blocks
from diffcore_hf.training.mixers.mask_cut import VALUES, GridEnergy, minimal_labels
from diffcore_hf.training.mixers.options import indices, not_negative, positive, switch, whole
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners
from diffcore_hf.training.mixers.saliency import distribution, input_gradient
from diffcore_hf.training.mixers.unsupported import Unsupported

GRIDS = (2, 4, 8, 16)
_SMALLEST_LAMBDA = 1e-8
"""Bound that keeps the logarithm of lambda and of 1 - lambda finite."""


class PuzzleMix(PairwiseMixer):
    """Chooses for each cell of a grid the more salient of two images, and moves salient blocks into their cells.

    The mask z of an n x n grid has the values 1 (the image), 1/2 (both) and 0 (the partner). It minimises

        sum z S_partner + (1 - z) S  +  sum over neighbours (z_p - z_q)^2 beta / (16 n) (1 + gamma d_pq)
        - eta / n^2 sum log Binomial(2 (1 - z); 2, 1 - lambda),  lambda ~ Beta(alpha, alpha),

    where S is the norm of the gradient of the loss in each cell, with sum 1, and d_pq is the squared difference of the
    colours, from 0 to 1, at the border of two cells that show different images. The minimum is exact. The label weight
    is the mean of z. The gradient is computed in evaluation mode and is not used to train the network.

    Args:
        setup: settings of all mixers.
        alpha: parameter of Beta, above 0; 1 in the paper.
        beta: weight of the smoothness of the mask, not negative. The paper has 1.2, and 1.5 for ImageNet.
        gamma: weight of colour differences, not negative; 0.5 in the paper.
        eta: weight of lambda, not negative; 0.2 in the paper.
        neigh: width in pixels of the strip in which colours at a border are compared, 1 to 64; 4 in the paper.
        grids: numbers of cells of a side; one is drawn for each image. The default is 2, 4, 8 and 16, as in the paper,
            or those of them that divide the sides of the image.
        transport: whether blocks are moved.
        t_size: side in pixels of the moved blocks, 1 to 64. If it is -1 or larger than a cell, blocks are cells. The
            paper has 4 for CIFAR and -1 for Tiny-ImageNet. Small blocks of large images are slow.
        t_eps: cost of a movement across the image, above 0; 0.8 in the paper.
    """

    uses_network = True

    def __init__(
        self,
        setup: MixerSetup,
        *,
        alpha: float = 1.0,
        beta: float = 1.2,
        gamma: float = 0.5,
        eta: float = 0.2,
        neigh: int = 4,
        grids: Sequence[int] | None = None,
        transport: bool = True,
        t_size: int = -1,
        t_eps: float = 0.8,
    ):
        super().__init__(setup)
        self.alpha = positive("alpha", alpha)
        self.beta, self.gamma, self.eta = (
            not_negative(name, value) for name, value in (("beta", beta), ("gamma", gamma), ("eta", eta))
        )
        self.neigh = whole("neigh", neigh, 1, 64)
        self.given_grids = None if grids is None else indices("grids", grids, example="[2, 4]")
        self.grids = self.given_grids or GRIDS
        self.transport = switch("transport", transport)
        self.t_size = t_size if t_size == -1 else whole("t_size", t_size, 1, 64)
        self.t_eps = positive("t_eps", t_eps)

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Select the grids that divide the image.

        Raises:
            UserError: a grid of the option does not divide the image, or none of the default grids does.
        """
        side = math.gcd(*shape[1:])
        possible = [grid for grid in range(1, min(side, 64) + 1) if side % grid == 0]
        self.grids = self.given_grids or tuple(grid for grid in GRIDS if grid in possible)
        if not self.grids or not set(self.grids) <= set(possible):
            raise Unsupported(
                "puzzlemix",
                f"images of {shape[1]} x {shape[2]} pixels cannot be divided into "
                f"{' or '.join(str(grid) for grid in self.grids or GRIDS)} cells a side",
                f"Use e.g. --mixer.options '{{grids: {possible[-4:]}}}'",
            )

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return the number of cells of a side, and lambda."""
        return self.grids[int(random.integers(len(self.grids)))], random.beta(self.alpha, self.alpha)

    def maps(self, context: BatchContext, images: Tensor) -> Tensor:
        """Return the norm of the gradient of the loss for each pixel."""
        return input_gradient(context, images)

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mix every image with its partner. Images with the same grid are computed together."""
        assert partners.maps is not None and partners.own_maps is not None
        images, share = context.images.clone(), torch.empty(len(context.images), device=context.images.device)
        pixels = context.pixels()
        other_pixels = pixels[partners.index] if self.setup.partner == "batch" else context.pixels_of(partners.images)
        for grid in np.unique(drawn[:, 0]).astype(int).tolist():
            rows = torch.from_numpy(np.flatnonzero(drawn[:, 0] == grid)).to(images.device)
            own, other = (cell_means(maps[rows], grid) for maps in (partners.own_maps, partners.maps))
            own, other = distribution(own), distribution(other)
            down, right = seams(pixels[rows], other_pixels[rows], grid, self.neigh)
            lambdas = drawn[drawn[:, 0] == grid, 1]
            mask = self.masks(own, other, down, right, lambdas).to(images.device)
            pair = [context.images[rows], partners.images[rows]]
            if self.transport:
                weights = (mask, 1 - mask)
                maps = (partners.own_maps[rows], partners.maps[rows])
                pair = [self._moved(*each) for each in zip(pair, maps, weights, strict=True)]
            pixel_mask = enlarged(mask, images.shape[-2:])[:, None].to(images.dtype)
            images[rows] = torch.lerp(pair[1], pair[0], pixel_mask)
            share[rows] = mask.mean((1, 2))
        return images, share

    def masks(self, own: Tensor, other: Tensor, down: Tensor, right: Tensor, lambdas: np.ndarray) -> Tensor:
        """Return the optimal masks.

        Args:
            own: (B, n, n) saliency of the images, with sum 1.
            other: (B, n, n) saliency of the partners, with sum 1.
            down: (B, n - 1, n) colour differences between a cell and the cell below.
            right: (B, n, n - 1) colour differences between a cell and the cell on its right.
            lambdas: (B,) in [0, 1].

        Returns:
            (B, n, n) float32 on the CPU.
        """
        grid = own.shape[-1]
        saliency = torch.stack([own, other], 1).double().cpu().numpy()
        unary = VALUES[:, None, None] * saliency[:, None, 1] + (1 - VALUES[:, None, None]) * saliency[:, None, 0]
        prior = -self.eta / grid**2 * np.log(label_probabilities(lambdas))
        unary = unary + prior[:, :, None, None]
        edges = [(self.beta / (16 * grid) * (1 + self.gamma * seam)).double().cpu().numpy() for seam in (down, right)]
        return torch.from_numpy(VALUES[minimal_labels(GridEnergy(unary, *edges))]).float()

    def _moved(self, images: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
        """Return images whose salient blocks lie where the mask shows the image."""
        cell = math.gcd(images.shape[-2] // mask.shape[-2], images.shape[-1] // mask.shape[-1])
        largest = cell if self.t_size == -1 else self.t_size
        side = max(size for size in range(1, cell + 1) if cell % size == 0 and size <= largest)
        blocks = (images.shape[-2] // side, images.shape[-1] // side)
        saliency = distribution(functional.adaptive_avg_pool2d(maps[:, None], blocks)[:, 0])
        return moved_blocks(images, block_sources(saliency, enlarged(mask, blocks), self.t_eps))


def label_probabilities(lambdas: np.ndarray) -> np.ndarray:
    """Return the probabilities of the mask values 1, 1/2 and 0 in Binomial(2, 1 - lambda): (B,) -> (B, 3)."""
    own = np.clip(lambdas, _SMALLEST_LAMBDA, 1 - _SMALLEST_LAMBDA)
    return np.stack([own**2, 2 * own * (1 - own), (1 - own) ** 2], 1)


def cell_means(maps: Tensor, grid: int) -> Tensor:
    """Return the mean of each cell: (B, H, W) -> (B, n, n)."""
    return functional.adaptive_avg_pool2d(maps[:, None], grid)[:, 0]


def enlarged(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Repeat each cell of a mask: (B, n, m) -> (B, H, W), with H and W multiples of n and m."""
    rows, columns = size[0] // mask.shape[1], size[1] // mask.shape[2]
    return mask.repeat_interleave(rows, 1).repeat_interleave(columns, 2)


def seams(images: Tensor, partners: Tensor, grid: int, width: int) -> tuple[Tensor, Tensor]:
    """Return how different the colours are at the border of two cells if they show different images.

    The difference is the squared difference of the mean colours of two strips along the border, averaged over the
    channels, and over both ways to assign the two images to the two cells.

    Args:
        images: (B, 3, H, W) pixels from 0 to 1.
        partners: (B, 3, H, W) pixels of the partners.
        grid: number of cells n of a side, a divisor of H and W.
        width: width of a strip in pixels; at most the whole cell is used.

    Returns:
        The differences between a cell and the cell below (B, n - 1, n), and the cell on its right (B, n, n - 1).
    """
    count, channels, height, wide = images.shape
    cells = [
        each.reshape(count, channels, grid, height // grid, grid, wide // grid).transpose(3, 4)
        for each in (images, partners)
    ]
    result = []
    for axis in (2, 3):
        first = [each.narrow(axis + 2, 0, min(width, each.shape[axis + 2])).mean((4, 5)) for each in cells]
        last = [_last(each, axis + 2, width).mean((4, 5)) for each in cells]
        ways = [
            (last[one].narrow(axis, 0, grid - 1) - first[1 - one].narrow(axis, 1, grid - 1)).square().mean(1)
            for one in (0, 1)
        ]
        result.append((ways[0] + ways[1]) / 2)
    return result[0], result[1]


def _last(cells: Tensor, axis: int, width: int) -> Tensor:
    length = min(width, cells.shape[axis])
    return cells.narrow(axis, cells.shape[axis] - length, length)
