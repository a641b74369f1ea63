"""One picture: a species in a context.

Owns the draw (everything random about a picture, as one record) and the composition of background, bird and weather.
What a bird looks like is bird.py's, what a context looks like scenery.py's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from diffcore_hf.core.errors import UserError
from diffcore_hf.miniature.bird import FEET, bird
from diffcore_hf.miniature.scenery import CONTEXTS, LIGHT, Details, background, perch, weather
from diffcore_hf.miniature.species import Species

SUPERSAMPLING = 3
_DETAILS = 256  # more than any scene reads, so that a change of one scene leaves the others' draws alone


@dataclass(frozen=True, eq=False)
class PictureDraw:
    """What is random about a picture; lengths are shares of its side."""

    faces_left: bool
    flies: bool  # wings spread, no perch
    scale: float  # one bird unit
    x: float
    y: float  # where the bird's origin lies
    pitch: float  # radians, beak up is positive
    stretch: float  # the body's length against its height
    brightness: float
    details: np.ndarray  # (256,) in [0, 1): the background's and the weather's


def draw_picture(rng: np.random.Generator) -> PictureDraw:
    """Draw one picture's record; reads the same number of values from `rng` every time."""
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


def compose(species: Species, context: str, draw: PictureDraw, size: int = 64) -> Image.Image:
    """Render a drawn picture: (size, size) RGB; equal arguments give equal pixels."""
    if context not in LIGHT:
        raise UserError(f"the miniature world has no context {context!r}: use one of {', '.join(CONTEXTS)}")
    side = size * SUPERSAMPLING
    details = Details(draw.details)
    image = background(context, side, details)
    canvas = ImageDraw.Draw(image)
    if not draw.flies:
        # Feet sit below the origin and move with the pitch; the perch follows them.
        foot = np.array([[0.08, FEET]]) @ _rotation(draw.pitch).T * draw.scale
        x = draw.x + (-foot[0, 0] if draw.faces_left else foot[0, 0])
        perch(context, canvas, side, x * side, (draw.y + foot[0, 1]) * side - 1, details)
    _draw_bird(canvas, species, context, draw, side)
    weather(context, canvas, side, details)
    return image.reduce(SUPERSAMPLING)


def render(species: Species, context: str, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """A fresh picture of the species in the context: (size, size) RGB, 2 to 4 ms at 64 pixels."""
    return compose(species, context, draw_picture(rng), size)


def _rotation(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def _draw_bird(canvas: ImageDraw.ImageDraw, species: Species, context: str, draw: PictureDraw, side: int) -> None:
    light = LIGHT[context]
    mirror = np.array([-draw.stretch if draw.faces_left else draw.stretch, 1.0])
    turn = _rotation(draw.pitch).T * mirror * draw.scale * side
    origin = np.array([draw.x, draw.y]) * side
    rim = max(1, round(side * 0.010))
    for patch in bird(species, draw.flies):
        points = (patch.points @ turn + origin).ravel().tolist()
        color = light.on(patch.color, draw.brightness)
        if patch.rim:
            canvas.line([*points, *points[:4]], fill=tuple(c * 55 // 100 for c in color), width=2 * rim, joint="curve")
        canvas.polygon(points, fill=color)
