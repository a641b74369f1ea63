"""The ten contexts: their phrases, backgrounds, light and weather.

Owns everything in a picture except the bird. All sizes are relative to the picture's side. Every function paints on a
canvas. It reads its random numbers from a `Details`, which has all of them from the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from diffcore_hf.core.seeding import generator
from diffcore_hf.miniature.species import Color

CONTEXTS = (
    "under a clear sky",
    "in heavy snow",
    "in the rain",
    "at sunset",
    "in a forest",
    "in a desert",
    "at night",
    "in fog",
    "by the ocean",
    "in a garden",
)


class Details:
    """A fixed sequence of uniform random numbers; each number is used once, in order."""

    def __init__(self, numbers: NDArray[np.float64]):
        self._numbers = iter(numbers.tolist())

    def between(self, low: float, high: float) -> float:
        """Returns the next number, scaled to [low, high)."""
        return low + (high - low) * next(self._numbers)


@dataclass(frozen=True)
class Light:
    """The effect of a context on the bird's colours: `colour * gain`, then mixed with `tint` by `strength`."""

    gain: float
    tint: Color
    strength: float

    def applied_to(self, color: Color, brightness: float = 1.0) -> Color:
        """Returns a colour as it appears in this light."""
        gain = self.gain * brightness
        red, green, blue = (
            min(255, round(c * gain * (1 - self.strength) + t * self.strength))
            for c, t in zip(color, self.tint, strict=True)
        )
        return red, green, blue


LIGHT = {
    "under a clear sky": Light(1.06, (255, 255, 255), 0.0),
    "in heavy snow": Light(0.98, (225, 235, 245), 0.10),
    "in the rain": Light(0.84, (90, 105, 120), 0.12),
    "at sunset": Light(0.92, (255, 120, 40), 0.16),
    "in a forest": Light(0.92, (40, 80, 30), 0.06),
    "in a desert": Light(1.04, (255, 220, 150), 0.08),
    "at night": Light(0.66, (20, 30, 90), 0.20),
    "in fog": Light(0.96, (200, 204, 208), 0.36),
    "by the ocean": Light(1.04, (210, 235, 255), 0.04),
    "in a garden": Light(1.04, (255, 255, 230), 0.03),
}


def sky(size: int, stops: list[tuple[float, Color]], shift: float = 0.0) -> Image.Image:
    """Draws a vertical gradient through stops of (height, colour); `shift` is added to the inner heights."""
    heights = [h if h in (0.0, 1.0) else h + shift for h, _ in stops]
    rows = np.arange(size) / (size - 1)
    channels = [np.interp(rows, heights, [color[i] for _, color in stops]) for i in range(3)]
    column = np.stack(channels, axis=1).astype(np.uint8)[:, None, :]
    return Image.fromarray(np.repeat(column, size, axis=1))


def background(context: str, size: int, details: Details) -> Image.Image:
    """Draws the scene behind the bird, (size, size) RGB."""
    return _SCENES[context](size, details)


def weather(context: str, canvas: ImageDraw.ImageDraw, size: int, details: Details) -> None:
    """Draws snow or rain in front of the bird."""
    if context == "in heavy snow":
        for _ in range(46):
            x, y, r = details.between(0, size), details.between(0, size), details.between(0.006, 0.019) * size
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))
    if context == "in the rain":
        slant = details.between(0.02, 0.06)
        for _ in range(34):
            x, y, length = details.between(-0.1, 1.05), details.between(-0.1, 1.0), details.between(0.08, 0.16)
            line = (x * size, y * size, (x + slant) * size, (y + length) * size)
            canvas.line(line, fill=(176, 200, 222), width=max(1, round(size * 0.009)))


def perch(context: str, canvas: ImageDraw.ImageDraw, size: int, x: float, y: float, details: Details) -> None:
    """Draws the bird's perch with its top at (x, y) in pixels: a rock, a fence or a branch, by context."""
    tilt, width = details.between(-0.05, 0.05) * size, details.between(0.035, 0.05) * size
    if context in ("by the ocean", "in a desert"):
        color = (98, 96, 104) if context == "by the ocean" else (176, 110, 62)
        w = details.between(0.26, 0.36) * size
        canvas.polygon(
            [
                (x - w, size),
                (x - 0.7 * w, y + 0.05 * size),
                (x - 0.3 * w, y),
                (x + 0.4 * w, y),
                (x + 0.8 * w, y + 0.06 * size),
                (x + 1.1 * w, size),
            ],
            fill=color,
        )
        canvas.polygon(
            [(x - 0.3 * w, y), (x + 0.4 * w, y), (x + 0.1 * w, y + 0.06 * size)], fill=tuple(c + 28 for c in color)
        )
        return
    if context == "in a garden":
        for step in range(-4, 5):
            left = x + (step - 0.35) * 0.15 * size
            canvas.polygon(
                [
                    (left, size),
                    (left, y + 0.03 * size),
                    (left + 0.05 * size, y),
                    (left + 0.10 * size, y + 0.03 * size),
                    (left + 0.10 * size, size),
                ],
                fill=(246, 246, 240),
            )
        canvas.rectangle((0, y + 0.08 * size, size, y + 0.12 * size), fill=(226, 226, 220))
        return
    wood = {
        "at night": (30, 30, 48),
        "at sunset": (60, 30, 44),
        "in fog": (150, 150, 152),
        "in the rain": (62, 58, 60),
        "in heavy snow": (104, 88, 82),
    }.get(context, (110, 76, 46))
    canvas.polygon(
        [(-4, y + tilt), (size + 4, y - tilt), (size + 4, y - tilt + width), (-4, y + tilt + 1.5 * width)], fill=wood
    )
    if context == "in heavy snow":
        canvas.polygon(
            [
                (-4, y + tilt - 0.3 * width),
                (size + 4, y - tilt - 0.3 * width),
                (size + 4, y - tilt + 0.4 * width),
                (-4, y + tilt + 0.4 * width),
            ],
            fill=(255, 255, 255),
        )
    if context in ("in a forest", "under a clear sky"):
        for _ in range(4):
            lx, up = details.between(0, 1) * size, details.between(-1, 1)
            ly = y + tilt - 2 * tilt * lx / size + (0.02 if up > 0 else -0.03) * size
            canvas.ellipse((lx, ly, lx + 0.09 * size, ly + 0.045 * size), fill=(84, 150, 58))


def _ball(canvas: ImageDraw.ImageDraw, size: int, x: float, y: float, r: float, fill: Color) -> None:
    canvas.ellipse(((x - r) * size, (y - r) * size, (x + r) * size, (y + r) * size), fill=fill)


def _hills(canvas: ImageDraw.ImageDraw, size: int, top: float, wave: float, phase: float, fill: Color) -> None:
    x = np.linspace(0, 1, 24)
    y = top + wave * np.sin(2 * np.pi * (x * 1.1 + phase)) + 0.4 * wave * np.sin(2 * np.pi * (x * 2.6 + 2 * phase))
    line = [(float(a) * size, float(b) * size) for a, b in zip(x, y, strict=True)]
    canvas.polygon([*line, (size, size), (0, size)], fill=fill)


def _clear(size: int, details: Details) -> Image.Image:
    image = sky(size, [(0, (46, 128, 226)), (0.6, (118, 186, 246)), (1, (196, 228, 252))], details.between(-0.15, 0.1))
    canvas = ImageDraw.Draw(image)
    if details.between(0, 1) < 0.5:
        x, y = details.between(0.08, 0.92), details.between(0.06, 0.2)
        _ball(canvas, size, x, y, 0.10, (180, 214, 244))
        _ball(canvas, size, x, y, 0.07, (255, 244, 180))
    for _ in range(2):
        x, y, r = details.between(0, 1), details.between(0.08, 0.6), details.between(0.04, 0.07)
        for dx, dr in ((-1.2, 0.7), (0, 1.0), (1.2, 0.75), (2.0, 0.5)):
            _ball(canvas, size, x + dx * r, y + (1 - dr) * r * 0.5, r * dr, (244, 249, 255))
    return image


def _snow(size: int, details: Details) -> Image.Image:
    image = sky(size, [(0, (160, 176, 196)), (0.6, (202, 214, 226)), (1, (224, 232, 240))])
    canvas = ImageDraw.Draw(image)
    _hills(canvas, size, details.between(0.66, 0.76), 0.03, details.between(0, 1), (226, 234, 244))
    for _ in range(3):
        x, base, h = details.between(0, 1), details.between(0.72, 0.82), details.between(0.22, 0.4)
        for k in range(3):
            top, w = base - h + k * h * 0.22, 0.07 + 0.03 * k
            tip, left, right = (x, top), (x - w, top + 0.36 * h), (x + w, top + 0.36 * h)
            canvas.polygon([(a * size, b * size) for a, b in (tip, left, right)], fill=(112, 140, 140))
            canvas.polygon(
                [(a * size, b * size) for a, b in (tip, (x - w / 2, top + 0.18 * h), (x + w / 2, top + 0.18 * h))],
                fill=(240, 246, 252),
            )
    _hills(canvas, size, details.between(0.80, 0.88), 0.03, details.between(0, 1), (250, 252, 255))
    return image


def _rain(size: int, details: Details) -> Image.Image:
    image = sky(size, [(0, (58, 68, 84)), (0.6, (98, 112, 128)), (1, (84, 98, 108))], details.between(-0.1, 0.1))
    canvas = ImageDraw.Draw(image)
    for _ in range(5):
        x, y, r = details.between(0, 1), details.between(-0.02, 0.10), details.between(0.10, 0.17)
        _ball(canvas, size, x, y, r, (48, 56, 70))
    _hills(canvas, size, details.between(0.78, 0.88), 0.03, details.between(0, 1), (62, 76, 80))
    for _ in range(4):
        x, y, r = details.between(0, 1), details.between(0.9, 0.98), details.between(0.04, 0.09)
        canvas.ellipse(((x - r) * size, (y - r / 4) * size, (x + r) * size, (y + r / 4) * size), fill=(118, 138, 152))
    return image


def _sunset(size: int, details: Details) -> Image.Image:
    image = sky(
        size,
        [(0, (84, 42, 118)), (0.35, (206, 74, 96)), (0.65, (250, 142, 58)), (1, (255, 208, 96))],
        details.between(-0.08, 0.1),
    )
    canvas = ImageDraw.Draw(image)
    x, y, r = details.between(0.1, 0.9), details.between(0.55, 0.74), details.between(0.12, 0.17)
    _ball(canvas, size, x, y, r * 1.35, (255, 178, 76))
    _ball(canvas, size, x, y, r, (255, 236, 140))
    for _ in range(2):
        cx, cy, w = details.between(0, 1), details.between(0.1, 0.45), details.between(0.14, 0.26)
        canvas.ellipse(((cx - w) * size, (cy - 0.02) * size, (cx + w) * size, (cy + 0.02) * size), fill=(236, 116, 112))
    _hills(canvas, size, details.between(0.76, 0.86), 0.04, details.between(0, 1), (92, 38, 72))
    _hills(canvas, size, details.between(0.88, 0.94), 0.03, details.between(0, 1), (58, 26, 54))
    return image


def _forest(size: int, details: Details) -> Image.Image:
    image = sky(size, [(0, (30, 74, 40)), (0.5, (84, 136, 70)), (1, (40, 84, 42))], details.between(-0.15, 0.15))
    canvas = ImageDraw.Draw(image)
    for k in range(7):
        x, w = (k + details.between(0, 0.9)) / 7, details.between(0.02, 0.05)
        tone = round(details.between(-8, 14))
        trunk = ((x - w) * size, 0, (x + w) * size, size)
        canvas.rectangle(trunk, fill=(66 + tone, 52 + tone, 34 + tone))
    for k in range(18):
        x, r, tone = details.between(0, 1), details.between(0.07, 0.14), round(details.between(-14, 26))
        y = details.between(-0.05, 0.18) if k < 11 else details.between(0.9, 1.05)
        _ball(canvas, size, x, y, r, (38 + tone, 96 + tone, 40 + tone // 2))
    return image


def _desert(size: int, details: Details) -> Image.Image:
    image = sky(size, [(0, (128, 196, 228)), (0.6, (244, 226, 180)), (1, (246, 214, 150))], details.between(-0.1, 0.05))
    canvas = ImageDraw.Draw(image)
    _ball(canvas, size, details.between(0.1, 0.9), details.between(0.08, 0.2), 0.07, (255, 250, 214))
    _hills(canvas, size, details.between(0.54, 0.64), 0.05, details.between(0, 1), (226, 170, 100))
    x, y, h = details.between(0.05, 0.95), details.between(0.70, 0.80), details.between(0.22, 0.34)
    green, w = (70, 124, 72), 0.022 * size
    for x0, y0, x1, y1 in (
        (x, y - h, x, y),
        (x - 0.09, y - 0.72 * h, x - 0.09, y - 0.4 * h),
        (x + 0.09, y - 0.85 * h, x + 0.09, y - 0.5 * h),
    ):
        canvas.rounded_rectangle((x0 * size - w, y0 * size, x1 * size + w, y1 * size), w, fill=green)
    canvas.rectangle(((x - 0.09) * size, (y - 0.46 * h) * size, x * size, (y - 0.36 * h) * size), fill=green)
    canvas.rectangle((x * size, (y - 0.58 * h) * size, (x + 0.09) * size, (y - 0.48 * h) * size), fill=green)
    _hills(canvas, size, details.between(0.70, 0.80), 0.05, details.between(0, 1), (238, 190, 118))
    _hills(canvas, size, details.between(0.86, 0.94), 0.03, details.between(0, 1), (214, 156, 88))
    return image


def _night(size: int, details: Details) -> Image.Image:
    image = sky(size, [(0, (8, 10, 34)), (0.6, (20, 30, 78)), (1, (38, 50, 104))], details.between(-0.15, 0.15))
    canvas = ImageDraw.Draw(image)
    for _ in range(26):
        x, y, r = details.between(0, 1), details.between(0, 0.8), details.between(0.004, 0.011)
        _ball(canvas, size, x, y, r, (236, 238, 255))
    x, y, r = details.between(0.1, 0.9), details.between(0.1, 0.28), details.between(0.07, 0.10)
    _ball(canvas, size, x, y, r * 1.3, (44, 54, 104))
    _ball(canvas, size, x, y, r, (246, 242, 206))
    _ball(canvas, size, x + r * 0.45, y - r * 0.15, r * 0.8, (44, 54, 104))
    _hills(canvas, size, details.between(0.82, 0.92), 0.04, details.between(0, 1), (10, 14, 34))
    return image


def _fog(size: int, details: Details) -> Image.Image:
    image = sky(size, [(0, (182, 188, 194)), (0.5, (206, 210, 213)), (1, (192, 196, 200))], details.between(-0.2, 0.2))
    canvas = ImageDraw.Draw(image)
    for _ in range(4):
        x, top, w = details.between(0, 1), details.between(0.15, 0.4), details.between(0.012, 0.024)
        tone = round(details.between(0, 14))
        color = (170 + tone, 175 + tone, 179 + tone)
        canvas.rectangle(((x - w) * size, top * size, (x + w) * size, size), fill=color)
        _ball(canvas, size, x, top, 0.13, color)
    for _ in range(3):
        x, y, w = details.between(0, 1), details.between(0.5, 0.95), details.between(0.3, 0.5)
        canvas.ellipse(((x - w) * size, (y - 0.05) * size, (x + w) * size, (y + 0.05) * size), fill=(212, 215, 218))
    return image


def _ocean(size: int, details: Details) -> Image.Image:
    image = sky(size, [(0, (132, 198, 240)), (0.5, (216, 238, 248)), (1, (216, 238, 248))], details.between(-0.15, 0.1))
    canvas = ImageDraw.Draw(image)
    horizon = details.between(0.44, 0.58)
    canvas.rectangle((0, horizon * size, size, size), fill=(22, 100, 160))
    canvas.rectangle((0, (horizon + 0.18) * size, size, size), fill=(24, 118, 172))
    if details.between(0, 1) < 0.4:
        x, y = details.between(0.05, 0.95), horizon
        canvas.polygon(
            [((x + a) * size, (y + b) * size) for a, b in ((-0.07, 0), (0.07, 0), (0.045, 0.03), (-0.045, 0.03))],
            fill=(130, 70, 52),
        )
        canvas.polygon(
            [((x + a) * size, (y + b) * size) for a, b in ((0, -0.15), (0.065, -0.02), (0, -0.02))],
            fill=(252, 252, 248),
        )
    for k in range(12):
        x, y = details.between(-0.05, 1), horizon + 0.04 + (0.96 - horizon) * (k + details.between(0, 1)) / 12
        w, tone = 0.05 + 0.22 * (y - horizon), (150, 210, 230) if k % 3 else (236, 248, 252)
        canvas.arc(
            ((x - w) * size, (y - 0.02) * size, (x + w) * size, (y + 0.03) * size),
            200,
            340,
            fill=tone,
            width=max(1, round(0.012 * size)),
        )
    return image


def _garden(size: int, details: Details) -> Image.Image:
    image = sky(
        size, [(0, (186, 226, 246)), (0.35, (214, 238, 214)), (1, (140, 200, 96))], details.between(-0.08, 0.08)
    )
    canvas = ImageDraw.Draw(image)
    for k in range(7):
        x, r, tone = (k + details.between(0, 1)) / 7, details.between(0.10, 0.17), round(details.between(-12, 12))
        _ball(canvas, size, x, details.between(0.42, 0.54), r, (84 + tone, 164 + tone, 70 + tone))
    canvas.rectangle((0, 0.56 * size, size, size), fill=(124, 196, 84))
    petals = ((240, 74, 96), (255, 214, 70), (236, 120, 214), (255, 255, 255), (150, 100, 230))
    for _ in range(13):
        x, y, r = details.between(0, 1), details.between(0.36, 0.96), details.between(0.020, 0.032)
        color = petals[int(details.between(0, 5))]
        canvas.line((x * size, y * size, x * size, (y + 0.09) * size), fill=(60, 130, 52), width=max(1, size // 90))
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            _ball(canvas, size, x + dx * r, y + dy * r, r, color)
        _ball(canvas, size, x, y, r * 0.7, (255, 190, 40) if color != petals[1] else (190, 96, 40))
    return image


_SCENES = dict(
    zip(CONTEXTS, (_clear, _snow, _rain, _sunset, _forest, _desert, _night, _fog, _ocean, _garden), strict=True)
)


def mixing_picture(number: int, side: int) -> Image.Image:
    """Draws a scene without a bird for PixMix. The scene depends only on the number and the side."""
    random = generator("scenery", number)
    return background(CONTEXTS[number % len(CONTEXTS)], side, Details(random.random(1000)))
