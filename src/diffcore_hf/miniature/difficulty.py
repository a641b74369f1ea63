"""Difficulty: makes pictures of the miniature world harder to classify.

The birds are smaller and less central, their marks have less contrast, leaves cover parts of them, and the picture has
noise. Owns the amounts and the random numbers of these changes. renderer.py applies them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from diffcore_hf.miniature.species import COLORS, SPECIES, Color, Species

if TYPE_CHECKING:
    from diffcore_hf.miniature.renderer import PictureDraw

_COLORS_IN_FRONT: tuple[Color, ...] = ((58, 88, 44), (96, 74, 52), (120, 122, 118), (150, 140, 96))


@dataclass(frozen=True)
class Difficulty:
    """The amounts of the changes. The default values change nothing."""

    size: float = 1.0
    """Factor for the size of the bird."""
    shift: float = 0.0
    """Largest distance by which the bird moves along each axis, relative to the side of the picture."""
    fade: float = 0.0
    """How far each colour of a bird moves towards the mean body colour of species and neighbour, from 0 to 1."""
    leaves: int = 0
    """Number of ellipses in front of the bird."""
    noise: float = 0.0
    """Standard deviation of the noise of each pixel and channel, on the scale from 0 to 255."""


EASY = Difficulty()
HARD = Difficulty(size=0.66, shift=0.1, fade=0.66, leaves=4, noise=14.0)
"""The difficulty of the evidence. docs/results.md says how it was chosen."""


@dataclass(frozen=True, eq=False)
class Disturbance:
    """The random numbers of the changes of one picture."""

    difficulty: Difficulty
    shift: tuple[float, float]
    leaves: NDArray[np.float64]
    """(N, 5) numbers in [0, 1): position, radius, height divided by width, colour."""
    noise_seed: int

    def moved(self, draw: PictureDraw) -> PictureDraw:
        """Returns the random numbers of a picture with a smaller bird at another position."""
        right, down = self.shift
        return replace(draw, scale=draw.scale * self.difficulty.size, x=draw.x + right, y=draw.y + down)

    def faded(self, color: Color, species: Species) -> Color:
        """Returns a colour of a bird with less contrast."""
        target = _mean_body(species)
        share = self.difficulty.fade
        red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(color, target, strict=True))
        return red, green, blue

    def cover(self, canvas: ImageDraw.ImageDraw, side: int, draw: PictureDraw) -> None:
        """Draws the leaves around the centre of the moved bird."""
        for across, down, radius, ratio, color in self.leaves.tolist():
            x, y = draw.x + 2.2 * draw.scale * (across - 0.5), draw.y + 1.6 * draw.scale * (down - 0.5)
            wide = draw.scale * (0.14 + 0.16 * radius)
            high = wide * (0.5 + ratio)
            box = tuple(side * edge for edge in (x - wide, y - high, x + wide, y + high))
            canvas.ellipse(box, fill=_COLORS_IN_FRONT[int(color * len(_COLORS_IN_FRONT))])

    def noisy(self, image: Image.Image) -> Image.Image:
        """Returns the picture with noise."""
        pixels = np.asarray(image).astype(np.float64)
        noise = np.random.default_rng(self.noise_seed).normal(0, self.difficulty.noise, pixels.shape)
        return Image.fromarray(np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8))


def neighbour(species: Species) -> Species:
    """Returns the similar species with which a species forms a pair. Each of the two is the neighbour of the other."""
    return SPECIES[species.id ^ 1]


def draw_disturbance(rng: np.random.Generator, difficulty: Difficulty) -> Disturbance | None:
    """Draws the random numbers of the changes; None, without a draw, if the difficulty changes nothing."""
    if difficulty == EASY:
        return None
    right, down = (difficulty.shift * (2 * rng.random(2) - 1)).tolist()
    return Disturbance(difficulty, (right, down), rng.random((difficulty.leaves, 5)), int(rng.integers(2**62)))


def _mean_body(species: Species) -> Color:
    pair = [COLORS[each.body] for each in (species, neighbour(species))]
    red, green, blue = (round((a + b) / 2) for a, b in zip(*pair, strict=True))
    return red, green, blue
