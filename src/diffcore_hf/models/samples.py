"""Samples: the record of generated images that sampling returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Generated images, with the reason for each image that cannot be used."""

    images: Tensor
    """(B, 3, H, W) uint8, on any device."""
    flags: list[str | None]
    """None for each usable image, otherwise the reason why the image cannot be used.

    `unsafe` means that the pipeline's safety checker flagged the image. `invalid` means that the image has one colour
    or values that are not finite. A strategy can also give the reason of a check in `filter.checks` with
    `recorded=True`. A detail may follow after a colon, as in `blurry: variance 3`."""


def single_colour(images: Tensor) -> list[bool]:
    """Returns for each image (B, 3, H, W) whether all its pixels are equal."""
    return (images == images[:, :, :1, :1]).flatten(1).all(1).tolist()
