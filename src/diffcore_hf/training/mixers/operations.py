"""The nine operations of AugMix and PixMix on uint8 images, drawn before they are applied.

The operations are autocontrast, equalize, posterize, solarize, rotation, and shear and translation along each axis.
Operations that the corruption benchmarks of the papers test, such as brightness, are not among them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

NAMES = (
    *("autocontrast", "equalize", "posterize", "rotate", "solarize"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
)


@dataclass(frozen=True)
class Operation:
    """One operation and its strength."""

    name: str
    level: float
    """Strength in [0, 10]. At 10, an image is rotated by 30 degrees, sheared by 0.3, or shifted by a third of its
    side."""
    negative: bool
    """Whether the direction of a rotation, shear or shift is negative."""


def draw_operation(random: np.random.Generator, severity: int) -> Operation:
    """Draw one of the nine operations with a level ~ U(0.1, severity)."""
    return Operation(NAMES[random.integers(len(NAMES))], random.uniform(0.1, severity), bool(random.random() < 0.5))


def applied(operation: Operation, image: Tensor) -> Tensor:
    """Apply an operation: (3, H, W) uint8 -> (3, H, W) uint8. Pixels from outside the image are black."""
    share = operation.level / 10
    sign = -1 if operation.negative else 1
    height, width = image.shape[-2:]
    match operation.name:
        case "autocontrast":
            return functional.autocontrast(image)
        case "equalize":
            return functional.equalize(image)
        case "posterize":
            return functional.posterize(image, max(1, 4 - int(4 * share)))
        case "solarize":
            return functional.solarize(image, min(255, 256 - int(256 * share)))
        case "rotate":
            return functional.rotate(image, sign * float(int(30 * share)), InterpolationMode.BILINEAR)
        case "shear_x":
            return _moved(image, shear=[sign * math.degrees(math.atan(0.3 * share)), 0.0])
        case "shear_y":
            return _moved(image, shear=[0.0, sign * math.degrees(math.atan(0.3 * share))])
        case "translate_x":
            return _moved(image, translate=[sign * int(share * width / 3), 0])
        case "translate_y":
            return _moved(image, translate=[0, sign * int(share * height / 3)])
    raise ValueError(f"{operation.name!r} is not an operation")


def _moved(image: Tensor, *, translate: list[int] | None = None, shear: list[float] | None = None) -> Tensor:
    """Shift or shear an image from its upper left corner."""
    return functional.affine(
        image,
        angle=0.0,
        translate=[float(shift) for shift in translate or (0, 0)],
        scale=1.0,
        shear=shear or [0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        center=[0.0, 0.0],
    )
