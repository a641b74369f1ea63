"""Renderer: draws one picture of a species in a context, and the mask of the bird in it.

Owns the record of all random numbers of a picture, and the composition of background, bird and weather. The shapes of a
bird are in bird.py, the contexts in scenery.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from diffcore_hf.miniature.bird import FEET, Patch, bird
from diffcore_hf.miniature.difficulty import EASY, Difficulty, Disturbance, draw_disturbance
from diffcore_hf.miniature.scenery import CONTEXTS, LIGHT, Details, background, perch, weather
from diffcore_hf.miniature.species import Species

SUPERSAMPLING = 3
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]
Fill = int | tuple[int, ...]
"""Colour for Pillow: one number for a grey image, three for RGB."""
_DETAILS = 256
"""Number of random numbers for the background and the weather. It is more than any scene uses, so that a change of one
scene does not change the pictures of other scenes."""


@dataclass(frozen=True, eq=False)
class PictureDraw:
    """All random numbers of a picture. Lengths are relative to the side of the picture."""

    faces_left: bool
    flies: bool
    """Whether the wings are spread and there is no perch."""
    scale: float
    """Length of one bird unit."""
    x: float
    y: float
    """Vertical position of the bird's origin; `x` is the horizontal one."""
    pitch: float
    """Rotation in radians; a positive value lifts the beak."""
    stretch: float
    """Factor for the length of the bird; its height does not change."""
    brightness: float
    """Factor for the brightness of the bird's colours."""
    details: Numbers
    """(256,) numbers in [0, 1) for the background and the weather."""


def draw_picture(rng: np.random.Generator) -> PictureDraw:
    """Draws the random numbers of one picture; the number of values taken from `rng` is always the same."""
    u = rng.random(8)
    flies = bool(u[1] < 0.22)
    return PictureDraw(
        faces_left=bool(u[0] < 0.5),
        flies=flies,
        scale=0.315 + 0.065 * u[2],
        x=0.5 + 0.10 * (u[3] - 0.5),
        y=0.55 + 0.10 * (u[4] - 0.5),
        pitch=(0.50 * u[5] - 0.15) if flies else (0.34 * u[5] - 0.14),
        stretch=0.94 + 0.12 * u[6],
        brightness=0.92 + 0.16 * u[7],
        details=rng.random(_DETAILS),
    )


def compose(
    species: Species, context: str, draw: PictureDraw, size: int = 64, disturbance: Disturbance | None = None
) -> Image.Image:
    """Renders a picture from its random numbers, (size, size) RGB; equal arguments give equal pixels.

    Args:
        species: the species of the bird.
        context: one of `CONTEXTS`.
        draw: the random numbers of the picture.
        size: side of the picture in pixels.
        disturbance: the changes that make the picture harder to classify; None: no change.

    Raises:
        ValueError: the context is not in `CONTEXTS`.
    """
    if context not in LIGHT:
        raise ValueError(f"the miniature world has no context {context!r}: use one of {', '.join(CONTEXTS)}")
    side = size * SUPERSAMPLING
    details = Details(draw.details)
    if disturbance is not None:
        draw = disturbance.moved(draw)
    image = background(context, side, details)
    canvas = ImageDraw.Draw(image)
    if not draw.flies:
        # The position of the feet depends on the pitch, and the perch is below the feet.
        foot = np.array([[0.08, FEET]]) @ _rotation(draw.pitch).T * draw.scale
        x = draw.x + (-foot[0, 0] if draw.faces_left else foot[0, 0])
        perch(context, canvas, side, x * side, (draw.y + foot[0, 1]) * side - 1, details)
    light = LIGHT[context]

    def colors(patch: Patch) -> tuple[Fill, Fill]:
        own = patch.color if disturbance is None else disturbance.faded(patch.color, species)
        color = light.applied_to(own, draw.brightness)
        return color, tuple(channel * 55 // 100 for channel in color)

    _draw_bird(canvas, species, draw, side, colors)
    if disturbance is None:
        weather(context, canvas, side, details)
        return image.reduce(SUPERSAMPLING)
    disturbance.cover(canvas, side, draw)
    weather(context, canvas, side, details)
    return disturbance.noisy(image.reduce(SUPERSAMPLING))


def render(
    species: Species, context: str, rng: np.random.Generator, size: int = 64, difficulty: Difficulty = EASY
) -> Image.Image:
    """Renders a new picture of the species in the context, (size, size) RGB, in 2 to 4 ms at 64 pixels."""
    draw = draw_picture(rng)
    return compose(species, context, draw, size, draw_disturbance(rng, difficulty))


def mask(species: Species, draw: PictureDraw, size: int = 64) -> Mask:
    """Returns the pixels that the bird covers in `compose`, (size, size) bool. The context does not change them.

    A pixel at the edge belongs to the mask if the bird covers a part of it. Snow and rain are in front of the bird, and
    the mask contains the pixels of the bird behind them. The perch does not belong to the mask.
    """
    side = size * SUPERSAMPLING
    image = Image.new("L", (side, side), 0)
    _draw_bird(ImageDraw.Draw(image), species, draw, side, lambda patch: (255, 255))
    parts = np.asarray(image).reshape(size, SUPERSAMPLING, size, SUPERSAMPLING)
    covered: Mask = parts.max(axis=(1, 3)) > 0
    return covered


def _rotation(angle: float) -> Numbers:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def _draw_bird(
    canvas: ImageDraw.ImageDraw,
    species: Species,
    draw: PictureDraw,
    side: int,
    colors: Callable[[Patch], tuple[Fill, Fill]],
) -> None:
    """Draws the patches of a bird; `colors` returns the colours of the area and of the rim of a patch."""
    mirror = np.array([-draw.stretch if draw.faces_left else draw.stretch, 1.0])
    turn = _rotation(draw.pitch).T * mirror * draw.scale * side
    origin = np.array([draw.x, draw.y]) * side
    rim = max(1, round(side * 0.010))
    for patch in bird(species, draw.flies):
        points = (patch.points @ turn + origin).ravel().tolist()
        area_color, rim_color = colors(patch)
        if patch.rim:
            canvas.line([*points, *points[:4]], fill=rim_color, width=2 * rim, joint="curve")
        canvas.polygon(points, fill=area_color)
