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
    """For each image None, or the reason why it cannot be used: `unsafe` (found by the pipeline's safety checker),
    `invalid` (not finite, or of one colour), or the reason of a check that `filter.checks` names and that is recorded.
    A detail may follow after a colon: `blurry: variance 3`."""


def single_colour(images: Tensor) -> list[bool]:
    """Returns for each image (B, 3, H, W) whether all its pixels are equal."""
    return (images == images[:, :, :1, :1]).flatten(1).all(1).tolist()
