"""GuidedMixup with the gradient of the loss as saliency (GuidedMixup-AP)."""

from __future__ import annotations

from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext
from diffcore_hf.training.mixers.guidedmixup import GuidedMixup
from diffcore_hf.training.mixers.saliency import input_gradient


class GuidedMixupAP(GuidedMixup):
    """Blends images by the norm of the gradient of the loss in each pixel.

    The gradient is computed in evaluation mode and is not used to train the network. In the published code, however,
    the steps without mixing train the network with it. The paper mixes with probability 0.8: set `mixer.probability`.
    """

    uses_network = True

    def saliency(self, context: BatchContext, images: Tensor) -> Tensor:
        """Return the root of the mean squared gradient over the channels of each pixel."""
        return input_gradient(context, images)
