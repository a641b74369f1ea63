"""Co-Mixup (Kim et al. 2021, arXiv:2102.03065): mixes several images into several salient and different outputs."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcore_hf.training.mixers.base import BatchContext, Mixed, Mixer, MixerSetup, one_hot
from diffcore_hf.training.mixers.joint_labels import JointWeights, Output, joint_outputs
from diffcore_hf.training.mixers.options import not_negative, positive, share, whole
from diffcore_hf.training.mixers.saliency import distribution, input_gradient
from diffcore_hf.training.mixers.unsupported import Unsupported

LARGEST_GRID = 6


class CoMixup(Mixer):
    """Chooses, for each cell of each mixed image, one image of a partition or two images that share the cell.

    The cost of image k in a cell is -S_k - eta / n^2 log w_k. S is the norm of the gradient of the loss in each cell of
    the n x n grid, with sum 1, and w ~ Dirichlet(alpha). The other terms are described in joint_labels.py. The label
    weight of an image is its share of the cells. The gradient is computed in evaluation mode and is not used to train
    the network.

    If `per` is `image`, each image draws its place in the order of the batch and its part of w. Partitions are
    consecutive images of this order. If `per` is `batch`, both are drawn for the whole batch.

    Args:
        setup: settings of all mixers.
        alpha: parameter of Dirichlet, above 0; 2 in the paper.
        beta: weight of borders between images, not negative; 0.32 in the paper.
        gamma: weight of the penalty for images that other outputs show, not negative; 1 in the paper.
        eta: weight of the draws, not negative; 0.05 in the paper.
        omega: weight of distances between salient cells in the diversity, from 0 to 1; 0.001 in the paper.
        threshold: an image is penalised if the other outputs show more than `threshold` n^2 cells of it, not negative;
            0.83 in the paper.
        rounds: rounds of coordinate descent, 1 to 10; 4 in the paper.
        grid: number of cells of a side, 1 to 6; 4 in the paper.
        partition: largest number of images that are mixed with each other, 2 to 64; 20 in the paper.
    """

    def __init__(
        self,
        setup: MixerSetup,
        *,
        alpha: float = 2.0,
        beta: float = 0.32,
        gamma: float = 1.0,
        eta: float = 0.05,
        omega: float = 0.001,
        threshold: float = 0.83,
        rounds: int = 4,
        grid: int = 4,
        partition: int = 20,
    ):
        super().__init__(setup)
        self.alpha, self.eta = positive("alpha", alpha), not_negative("eta", eta)
        self.beta, self.gamma = not_negative("beta", beta), not_negative("gamma", gamma)
        self.omega, self.threshold = share("omega", omega), not_negative("threshold", threshold)
        self.rounds = whole("rounds", rounds, 1, 10)
        self.weights = JointWeights(self.beta, self.gamma, self.omega, self.threshold, self.rounds)
        self.grid = whole("grid", grid, 1, LARGEST_GRID)
        self.partition = whole("partition", partition, 2, 64)

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Check that the grid divides the images.

        Raises:
            UserError: the grid does not divide the images.
        """
        side = math.gcd(*shape[1:])
        if side % self.grid:
            able = max(grid for grid in range(1, LARGEST_GRID + 1) if side % grid == 0)
            raise Unsupported(
                "comixup",
                f"images of {shape[1]} x {shape[2]} pixels cannot be divided into {self.grid} cells a side",
                f"Use --mixer.options '{{grid: {able}}}'",
            )

    def forward(self, context: BatchContext) -> Mixed:
        """Mix a batch. Images that are not drawn for mixing stay bit-identical."""
        order, amounts = self._draws(context)
        if not len(order):
            return Mixed(context.images, context.targets)
        maps = functional.adaptive_avg_pool2d(input_gradient(context, context.images)[:, None], self.grid)[:, 0]
        saliency = distribution(maps.double()).cpu().numpy()
        images, labels = context.images.clone(), one_hot(context.targets, self.setup.classes)
        targets = labels.clone()
        for rows in np.array_split(order, math.ceil(len(order) / self.partition)):
            draws = amounts[rows] / amounts[rows].sum()
            cost = -saliency[rows] - self.eta / self.grid**2 * np.log(draws)[:, None, None]
            outputs = joint_outputs(cost, saliency[rows], self.weights)
            index = torch.from_numpy(rows).to(images.device)
            shares = np.stack([output.cells_of(len(rows)) for output in outputs]) / self.grid**2
            images[index] = shown(context.images[index], outputs)
            targets[index] = torch.from_numpy(shares).float().to(images.device) @ labels[index]
        return Mixed(images, targets)

    def _draws(self, context: BatchContext) -> tuple[np.ndarray, np.ndarray]:
        """Return the images to mix in their random order, and (B,) positive numbers, from which w is computed."""
        count = len(context.images)
        if self.setup.per == "batch":
            random = context.generator
            order, chance = random.permutation(count), random.random()
            amounts = random.gamma(self.alpha, size=count)
            mixed = np.full(count, chance < self.setup.probability)
        else:
            streams = context.streams()
            order = np.argsort([random.random() for random in streams], kind="stable")
            mixed = np.array([random.random() for random in streams]) < self.setup.probability
            amounts = np.array([random.gamma(self.alpha) for random in streams])
        return order[mixed[order]], np.maximum(amounts, np.finfo(float).tiny)


def shown(images: Tensor, outputs: list[Output]) -> Tensor:
    """Return the images that outputs describe: (K, C, H, W) -> (outputs, C, H, W); n divides H and W."""
    channels, height, width = images.shape[1:]
    grid = len(outputs[0].first)
    cells = images.reshape(-1, channels, grid, height // grid, grid, width // grid).permute(0, 2, 4, 1, 3, 5)
    first, second = (
        torch.from_numpy(np.stack([getattr(output, name) for output in outputs])).to(images.device)
        for name in ("first", "second")
    )
    row = torch.arange(grid, device=images.device)[:, None]
    column = torch.arange(grid, device=images.device)
    mixed = torch.lerp(cells[first, row, column], cells[second, row, column], 0.5)
    return mixed.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, height, width)
