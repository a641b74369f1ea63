"""Bird: builds the coloured polygons of a bird.

Owns the shapes and the positions of the marks. In its coordinates x points to the beak and y points down. The body is
about two units long, and the feet are at y = `FEET`. Scenes and light are in scenery.py, pixels in renderer.py.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.miniature.species import COLORS, Color, Species

FEET = 0.74
HEAD = (0.46, -0.40)


Points = NDArray[np.float64]
"""(N, 2) corners of a polygon."""


class Patch(NamedTuple):
    """One filled polygon."""

    points: Points
    color: Color
    rim: bool = False
    """Whether the polygon has a dark rim."""


def smooth(points: list[tuple[float, float]], steps: int = 5) -> Points:
    """Returns the closed Catmull-Rom spline through (N, 2) points, as (N * steps, 2)."""
    p1 = np.asarray(points, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return (curve / 2).reshape(-1, 2)


def disc(x: float, y: float, radius: float, steps: int = 16, ratio: float = 1.0) -> Points:
    """Returns an ellipse as (steps, 2) points; `ratio` is its height divided by its width."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * ratio * np.sin(angle)], axis=1)


def polygon(*points: tuple[float, float]) -> Points:
    """Returns corners as an (N, 2) array."""
    return np.asarray(points, dtype=np.float64)


BODY = smooth(
    [
        (0.66, -0.12),
        (0.55, 0.22),
        (0.16, 0.46),
        (-0.26, 0.40),
        (-0.60, 0.20),
        (-0.62, 0.02),
        (-0.30, -0.14),
        (0.10, -0.28),
        (0.38, -0.36),
    ]
)
BELLY = smooth([(0.645, -0.04), (0.53, 0.23), (0.15, 0.44), (-0.26, 0.38), (-0.02, 0.26), (0.26, 0.06), (0.46, -0.10)])
FOLDED_WING = smooth(
    [(0.26, -0.17), (0.20, 0.06), (-0.08, 0.21), (-0.45, 0.25), (-0.80, 0.22), (-0.48, 0.02), (-0.12, -0.17)]
)
RAISED_WING = smooth(
    [(0.24, -0.12), (0.02, 0.06), (-0.24, -0.02), (-0.52, -0.36), (-0.72, -0.88), (-0.36, -0.72), (0.02, -0.42)]
)
FAR_WING = smooth([(0.30, -0.16), (0.10, -0.10), (0.0, -0.40), (-0.10, -0.92), (0.14, -0.74), (0.30, -0.44)])

TAIL = {
    "short": [polygon((-0.45, -0.06), (-0.92, 0.06), (-0.94, 0.26), (-0.45, 0.26))],
    "long": [polygon((-0.42, -0.04), (-1.36, 0.34), (-1.40, 0.54), (-1.18, 0.52), (-0.42, 0.28))],
    "fork": [polygon((-0.45, -0.02), (-1.22, -0.12), (-0.80, 0.14), (-1.16, 0.52), (-0.45, 0.28))],
    "fan": [
        smooth(
            [(-0.44, 0.02), (-0.88, -0.36), (-1.06, -0.26), (-1.14, 0.10), (-1.08, 0.42), (-0.90, 0.50), (-0.44, 0.26)]
        )
    ],
}
CREST: dict[str, list[Points]] = {
    "none": [],
    "spike": [polygon((0.62, -0.60), (0.06, -1.04), (0.22, -0.44))],
    "crown": [
        polygon((0.68, -0.54), (0.74, -0.94), (0.56, -0.76), (0.47, -1.06), (0.37, -0.74), (0.16, -0.92), (0.22, -0.46))
    ],
    "plume": [
        polygon((0.42, -0.60), (0.40, -0.86), (0.54, -1.04), (0.56, -0.98), (0.47, -0.84), (0.50, -0.60)),
        disc(0.62, -1.02, 0.13),
    ],
}
BEAK = {
    "cone": [polygon((0.66, -0.54), (1.00, -0.36), (0.66, -0.24))],
    "needle": [polygon((0.68, -0.47), (1.38, -0.34), (0.68, -0.31))],
    "hook": [smooth([(0.66, -0.56), (0.88, -0.54), (1.02, -0.38), (0.98, -0.16), (0.86, -0.30), (0.68, -0.24)], 3)],
    "spoon": [
        smooth(
            [
                (0.68, -0.45),
                (0.92, -0.43),
                (1.10, -0.53),
                (1.26, -0.44),
                (1.24, -0.27),
                (1.06, -0.23),
                (0.90, -0.33),
                (0.68, -0.30),
            ],
            3,
        )
    ],
}
CAP = np.concatenate([disc(*HEAD, 0.285, 24)[12:], [(0.745, -0.44), (0.46, -0.50), (0.175, -0.36)]])


@lru_cache(maxsize=128)
def bird(species: Species, raised: bool) -> tuple[Patch, ...]:
    """Returns the patches of a bird that faces right, in drawing order; if `raised` is true, its wings are spread."""
    color = {name: COLORS[getattr(species, name)] for name in ("body", "wing", "belly", "head", "beak_color", "accent")}
    patches = [Patch(FAR_WING, _shade(color["wing"], 0.72), True)] if raised else []
    if not raised:
        patches += [
            Patch(polygon((x, 0.36), (x + 0.06, 0.36), (x + 0.06, FEET), (x, FEET)), (92, 70, 52))
            for x in (-0.04, 0.16)
        ]
    patches += [Patch(shape, _shade(color["wing"], 0.88), True) for shape in TAIL[species.tail]]
    patches += [Patch(shape, color["accent"], True) for shape in CREST[species.crest]]
    patches += [Patch(BODY, color["body"], True), Patch(BELLY, color["belly"])]
    if species.pattern == "spots":
        spots = ((0.50, 0.02), (0.36, 0.16), (0.52, 0.20), (0.20, 0.30), (0.36, 0.33), (0.02, 0.37))
        patches += [Patch(disc(x, y, 0.062, 10), color["accent"]) for x, y in spots]
    patches += [Patch(shape, color["beak_color"], True) for shape in BEAK[species.beak]]
    patches += [Patch(disc(*HEAD, 0.28, 24), color["head"], True)]
    patches += [Patch(points, color["accent"]) for points in _marks(species.pattern)]
    patches += [Patch(RAISED_WING if raised else FOLDED_WING, color["wing"], True)]
    patches += _feathers(species, raised, color)
    patches += [
        Patch(disc(0.56, -0.44, 0.095), (250, 250, 246)),
        Patch(disc(0.575, -0.44, 0.068), (18, 18, 22)),
        Patch(disc(0.60, -0.465, 0.024, 8), (255, 255, 255)),
    ]
    return tuple(patches)


def _marks(pattern: str) -> list[Points]:
    """Returns the marks of head and neck."""
    if pattern == "cap":
        return [CAP]
    if pattern == "stripe":
        return [polygon((0.19, -0.44), (0.72, -0.52), (0.74, -0.37), (0.20, -0.28))]
    if pattern == "collar":
        return [smooth([(0.20, -0.30), (0.40, -0.16), (0.66, -0.18), (0.68, -0.04), (0.42, 0.02), (0.12, -0.16)])]
    if pattern == "mask":
        return [smooth([(0.42, -0.56), (0.68, -0.56), (0.74, -0.38), (0.66, -0.22), (0.44, -0.28), (0.36, -0.42)])]
    return []


def _feathers(species: Species, raised: bool, color: dict[str, Color]) -> list[Patch]:
    """Returns the marks on the wing: bars if the species has them, else a line of flight feathers."""
    if species.pattern == "bars":
        if raised:
            strips = [
                polygon((-0.28, -0.12), (-0.20, -0.02), (-0.02, -0.40), (-0.08, -0.50)),
                polygon((-0.52, -0.48), (-0.44, -0.30), (-0.24, -0.60), (-0.34, -0.70)),
            ]
        else:
            strips = [
                polygon((0.02, -0.17), (0.12, -0.17), (0.02, 0.17), (-0.08, 0.20)),
                polygon((-0.24, -0.11), (-0.15, -0.14), (-0.26, 0.23), (-0.36, 0.24)),
            ]
        return [Patch(strip, color["accent"]) for strip in strips]
    tone = _shade(color["wing"], 1.22 if sum(color["wing"]) < 330 else 0.80)
    if raised:
        return [Patch(polygon((-0.62, -0.74), (-0.56, -0.72), (-0.06, -0.10), (-0.10, -0.06)), tone)]
    return [Patch(polygon((-0.66, 0.17), (-0.66, 0.20), (-0.02, 0.12), (0.06, 0.05)), tone)]


def _shade(color: Color, gain: float) -> Color:
    """Returns a darker colour if the gain is below 1, and a lighter one if it is above 1."""
    offset = 24 if gain > 1 else 0
    red, green, blue = (min(255, round(channel * gain + offset)) for channel in color)
    return red, green, blue
