"""PixMix (Hendrycks et al. 2022, arXiv:2112.05135): mixes an image with its augmentations and with other pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.core.extensions import NAME
from diffcore_hf.training.mixers.base import MixerSetup
from diffcore_hf.training.mixers.mixing_pictures import FRACTALS, drawing_function, picture_crop, picture_files
from diffcore_hf.training.mixers.operations import Operation, applied, draw_operation
from diffcore_hf.training.mixers.options import positive, text, whole
from diffcore_hf.training.mixers.row_wise import RowWiseMixer

_SMALLEST = 1e-37
"""Lower bound of a factor before it gets a negative exponent."""


@dataclass(frozen=True)
class MixRound:
    """One mix of the image with a second image."""

    operation: Operation | None
    """The second image is the original after this operation. None: it is the mixing picture."""
    multiply: bool
    """Whether the images are multiplied; otherwise they are added."""
    a: float
    """Weight or exponent of the image."""
    b: float
    """Weight or exponent of the second image."""


@dataclass(frozen=True)
class PixMixDraw:
    """Random numbers of the mix of one image."""

    picture: tuple[float, float, float]
    """Position of the mixing picture in its list, and of its crop, as shares."""
    start: Operation | None
    """Operation before the first round."""
    rounds: tuple[MixRound, ...]


class PixMix(RowWiseMixer):
    """Adds or multiplies an image with its augmentations and with mixing pictures, up to `rounds` times.

    The label stays as it is. The loader computes the result before normalisation and rounds it to uint8.

    Args:
        setup: settings of all mixers.
        pictures: folder of mixing pictures, or `module:function` of a function that draws them: it gets a number from 0
            to 63 and a side in pixels, and returns an image. None: fractals, which are drawn by this package. The paper
            uses a collection of fractals and feature visualisations.
        rounds: largest number of rounds, from 0 to 10; 4 in the paper.
        beta: parameter of the weights, above 0; larger values keep more of the image. 3 in the paper for CIFAR, 4 for
            ImageNet.
        severity: largest level of an operation, from 1 to 10; 3 in the paper for CIFAR, 1 for ImageNet.
    """

    def __init__(
        self,
        setup: MixerSetup,
        *,
        pictures: str | None = None,
        rounds: int = 4,
        beta: float = 3.0,
        severity: int = 3,
    ):
        super().__init__(setup)
        self.pictures = _pictures(FRACTALS if pictures is None else text("pictures", pictures))
        self.rounds, self.severity = whole("rounds", rounds, 0, 10), whole("severity", severity, 1, 10)
        self.beta = positive("beta", beta)

    def view(self, image: Tensor, random: np.random.Generator) -> Tensor:
        """Compute the mix of one image."""
        draw = draw_pixmix(random, self.rounds, self.beta, self.severity)
        needs_picture = any(each.operation is None for each in draw.rounds)
        picture = picture_crop(self.pictures, draw.picture, *image.shape[-2:]) if needs_picture else image
        return pixmix(image, picture, draw)


def _pictures(value: str) -> Sequence[str] | str:
    """Return the files of a folder, or the name of a function that draws pictures.

    Raises:
        UserError: the value is neither a folder with images nor such a function.
    """
    is_function = NAME.fullmatch(value) and not Path(value).exists()
    return drawing_function(value) if is_function else picture_files(value)


def draw_pixmix(random: np.random.Generator, rounds: int, beta: float, severity: int) -> PixMixDraw:
    """Draw the mixing picture, the start and the rounds of one image."""
    index, top, left = random.random(3).tolist()
    start = draw_operation(random, severity) if random.random() < 0.5 else None
    count = int(random.integers(rounds + 1))
    return PixMixDraw((index, top, left), start, tuple(_draw_round(random, beta, severity) for _ in range(count)))


def _draw_round(random: np.random.Generator, beta: float, severity: int) -> MixRound:
    operation = draw_operation(random, severity) if random.random() < 0.5 else None
    multiply = bool(random.random() < 0.5)
    if random.random() < 0.5:
        return MixRound(operation, multiply, float(random.beta(beta, 1)), float(random.beta(1, beta)))
    return MixRound(operation, multiply, 1 + float(random.beta(1, beta)), -float(random.beta(1, beta)))


def pixmix(image: Tensor, picture: Tensor, draw: PixMixDraw) -> Tensor:
    """Apply a draw to an image and a picture, both (3, H, W) uint8. Returns (3, H, W) uint8."""
    result = (image if draw.start is None else applied(draw.start, image)).float() / 255
    for each in draw.rounds:
        second = (picture if each.operation is None else applied(each.operation, image)).float() / 255
        combined = multiplied if each.multiply else added
        result = combined(result, second, each.a, each.b).clamp(0, 1)
    return (255 * result).round().to(torch.uint8)


def added(image: Tensor, second: Tensor, a: float, b: float) -> Tensor:
    """Return the weighted sum of two images on the scale [-1, 1]; the values are on the scale [0, 1]."""
    return (a * (2 * image - 1) + b * (2 * second - 1) + 1) / 2


def multiplied(image: Tensor, second: Tensor, a: float, b: float) -> Tensor:
    """Return the weighted geometric product of two images on the scale [0, 2]; the values are on the scale [0, 1]."""
    return (2 * image) ** a * (2 * second).clamp(min=_SMALLEST) ** b / 2
