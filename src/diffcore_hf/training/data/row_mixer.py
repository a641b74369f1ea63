"""Computes one training image: random draws first, then frame, crop, mix, flip and classical augmentation.

Owns the order of these steps and the record of a sample. The mathematics is in method/mixing.py, the crops are in
framing.py, and the draw of a partner is in transform.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.config.train import TransformConfig
from diffcore_hf.method.mixing import MixDraw, apply_mix, draw_mix, real_share
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.framing import Crop
from diffcore_hf.training.data.image_labels import Weights
from diffcore_hf.training.data.pairs import Pair

IGNORED = -100
"""Label of a sample whose image cannot be read; cross_entropy ignores it."""


@dataclass(frozen=True)
class Sample:
    """One training image and how it was computed."""

    pixels: Tensor
    """(3, size, size) uint8."""
    label: Any
    mix: MixDraw | None = None
    """The draw of the mix; None if the sample is not mixed."""
    share: float = 1.0
    """Share of the frame that comes from the real image."""
    seconds: float = 0.0
    """Time spent on the second image and on mixing, in seconds."""
    weights: Weights = ()
    """Classes of the label with their weights. () if the image cannot be read, or if `label` is the only class."""
    pair: Tensor | None = None
    """The row's generated image, cropped, flipped and augmented like `pixels`. None if the caller does not ask for it
    or the sample is mixed."""
    view: framing.View = framing.WHOLE
    """The part of its image that the sample shows. If two images are mixed, it is the same in both."""


class RowMixer:
    """Computes a sample from a pair of images and the random numbers of the sample."""

    def __init__(self, config: TransformConfig, *, kind: str, pi: float, alpha: float):
        """Store the settings.

        Args:
            config: the preset and its classical augmentation.
            kind: `both`, `pixel` or `patch`; `none` uses the generated image without mixing.
            pi: probability of pixel-wise mixing, if `kind` is `both`.
            alpha: parameter of lambda ~ Beta(alpha, alpha).

        Raises:
            UserError: the preset does not exist.
        """
        self.protocol = framing.protocol_of(config)
        self._classical: Callable[[Tensor], Tensor] | None = framing.classical(config, self.protocol)
        self._kind, self._pi, self._alpha = kind, pi, alpha

    def sample(
        self, pair: Pair, mixed: bool, label: Any, stream: np.random.Generator, *, with_pair: bool = False
    ) -> Sample:
        """Compute one sample; only the images that the sample needs are decoded.

        Args:
            pair: the two images.
            mixed: whether the generated image is used.
            label: label of the row.
            stream: random numbers of the sample, the same in every arm.
            with_pair: also return the generated image if the sample is not mixed.

        Raises:
            UnreadableImage: an image that the sample needs cannot be decoded.
        """
        # Kind `none` makes the same draws as `both`, so that all arms of a comparison have the same crops.
        draw = draw_mix(stream, pi=self._pi, alpha=self._alpha, kind="both" if self._kind == "none" else self._kind)
        alone = mixed and self._kind == "none"
        frame = pair.generated_alone() if alone else pair.real()
        crop = framing.draw_crop(stream, self.protocol, *frame.shape[-2:])
        view = framing.view_of(crop, *frame.shape[-2:])
        if mixed and not alone:
            started = time.perf_counter()
            image, share = self._mix(pair, frame, crop, draw)
            seconds = time.perf_counter() - started
            pixels = self._augmented(image, crop, self._seed(stream))
            return Sample(pixels, label, draw, share, seconds, view=view)
        image = framing.cropped(frame, crop, self.protocol)
        seed = self._seed(stream)
        second = None
        if with_pair and not alone:
            second = self._augmented(self._cropped_generated(pair, crop, *frame.shape[-2:]), crop, seed)
        pixels = self._augmented(image, crop, seed)
        return Sample(pixels, label, share=0.0 if alone else 1.0, pair=second, view=view)

    def _mix(self, pair: Pair, frame: Tensor, crop: Crop, draw: MixDraw) -> tuple[Tensor, float]:
        """Return the mix of both images in the crop, and the share of the frame that comes from the real image."""
        height, width = frame.shape[-2:]
        real = framing.cropped(frame, crop, self.protocol)
        generated = self._cropped_generated(pair, crop, height, width)
        if self.protocol.resize is None:
            # The protocol crops first and scales the crop, so the box of a patch refers to the training size.
            image = apply_mix(real, generated, draw)
            return image, real_share(draw, *image.shape[-2:])
        # This protocol mixes before it crops. Cropping first is faster and gives the same pixels: a mixed pixel depends
        # only on the two pixels at its position, and the box of a patch keeps its position in the frame.
        image = apply_mix(real, generated, draw, (height, width), (crop.top, crop.left))
        return image, real_share(draw, height, width)

    def _cropped_generated(self, pair: Pair, crop: Crop, height: int, width: int) -> Tensor:
        """Resize the generated image so that it covers a frame of `height` x `width`, and return its crop."""
        if self.protocol.resize is None:
            return framing.cropped_through(pair.generated(), crop, self.protocol, height, width)
        return framing.cropped(pair.generated_covering(height, width), crop, self.protocol)

    def _seed(self, stream: np.random.Generator) -> int:
        """Draw the seed of the classical augmentation; 0 if the recipe has no such augmentation."""
        return 0 if self._classical is None else int(stream.integers(2**62))

    def _augmented(self, image: Tensor, crop: Crop, seed: int) -> Tensor:
        """Flip the image and apply the classical augmentation."""
        image = framing.flipped(image, crop)
        if self._classical is None:
            return image
        # torchvision draws from torch's global generator, which is seeded here and restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._classical(image)
