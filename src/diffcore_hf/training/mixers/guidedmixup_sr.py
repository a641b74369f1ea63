"""GuidedMixup with the spectral residual as saliency, which needs no network (GuidedMixup-SR)."""

from __future__ import annotations

from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext
from diffcore_hf.training.mixers.guidedmixup import GuidedMixup
from diffcore_hf.training.mixers.saliency import grey, spectral_residual


class GuidedMixupSR(GuidedMixup):
    """Blends images by their spectral residual, computed at 128 pixels or less.

    The papers mix with probability 0.5: set `mixer.probability`.
    """

    def saliency(self, context: BatchContext, images: Tensor) -> Tensor:
        """Return the spectral residual of the images before normalisation."""
        return spectral_residual(grey(context.pixels_of(images)))
