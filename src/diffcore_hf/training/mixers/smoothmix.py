"""SmoothMix (Lee et al. 2020, CVPR workshops): blends two images with a Gaussian mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext, MixerSetup
from diffcore_hf.training.mixers.options import interval, positive
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners


class SmoothMix(PairwiseMixer):
    """Blends with the mask M(u) = exp(-|u - c|^2 / (2 sigma^2)): x' = (1 - M) x + M x_partner.

    The centre c is uniform in the image, and sigma ~ U(smallest, largest) times the height of the image. The label
    weight of the partner is the mean of M.

    Args:
        setup: settings of all mixers.
        smallest: lower bound of sigma as a share of the height, above 0; 0.25 in the paper.
        largest: upper bound of sigma as a share of the height, above 0; 0.5 in the paper.
    """

    def __init__(self, setup: MixerSetup, *, smallest: float = 0.25, largest: float = 0.5):
        super().__init__(setup)
        smallest, largest = positive("smallest", smallest), positive("largest", largest)
        self.smallest, self.largest = interval(("smallest", "largest"), smallest, largest)

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return sigma as a share of the height, and row and column of the centre as shares of height and width."""
        sigma = self.smallest + (self.largest - self.smallest) * random.random()
        return sigma, random.random(), random.random()

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Blend every image with its partner."""
        images = context.images
        mask = gaussian_masks(torch.from_numpy(drawn).float().to(images.device), *images.shape[-2:])
        return torch.lerp(images, partners.images, mask[:, None].to(images.dtype)), 1 - mask.mean((1, 2))


def gaussian_masks(drawn: Tensor, height: int, width: int) -> Tensor:
    """Return Gaussian masks with maximum 1, evaluated at the centres of the pixels.

    Args:
        drawn: (B, 3) float: sigma as a share of the height; row and column of the centre as shares of height and width.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        (B, height, width) in (0, 1].
    """
    sigma, row, column = (values[:, None] for values in drawn.unbind(1))
    sigma = sigma * height
    rows = torch.arange(height, device=drawn.device) + 0.5 - row * height
    columns = torch.arange(width, device=drawn.device) + 0.5 - column * width
    vertical, horizontal = (torch.exp(-distance.square() / (2 * sigma.square())) for distance in (rows, columns))
    return vertical[:, :, None] * horizontal[:, None, :]
