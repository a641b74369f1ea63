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
    """For each image `unsafe` (found by the pipeline's safety checker), `invalid` (not finite, or of one colour), or
    None for a usable image."""
