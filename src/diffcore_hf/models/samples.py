"""Samples: the record of generated images that sampling returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Generated images, and for each the reason why it is not usable."""

    images: Tensor
    """(B, 3, H, W) uint8, on any device."""
    flags: list[str | None]
    """`unsafe` (the pipeline's safety checker), `invalid` (not finite, or of one colour), or None."""
