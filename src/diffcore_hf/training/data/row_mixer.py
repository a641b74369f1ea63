"""One training image: frame, mix, crop, augment, from draws that come first.

Owns the order in which a sample is computed and the record of how it was computed. The mathematics is
method/mixing.py, the crops are framing.py, the draw of a partner is transform.py.
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
    """The draw, if two images were mixed."""
    share: float = 1.0
    """Share of the frame that is real."""
    seconds: float = 0.0
    """Time spent on the second image and the mix."""
    pair: Tensor | None = None
    """The row's generated image, cropped, flipped and augmented like `pixels`, if the caller asks for it and the sample
    is not mixed."""


class RowMixer:
    """Computes a sample from a pair of images and the random stream of the sample."""

    def __init__(self, config: TransformConfig, *, kind: str, pi: float, alpha: float):
        """Store the settings.

        Args:
            config: the preset and its classical augmentation.
            kind: `both`, `pixel`, `patch`, or `none`: the generated image alone.
            pi: probability of pixel-wise mixing, under `both`.
            alpha: lambda ~ Beta(alpha, alpha).

        Raises:
            UserError: no such preset.
        """
        self.protocol = framing.protocol_of(config)
        self._classical: Callable[[Tensor], Tensor] | None = framing.classical(config, self.protocol)
        self._kind, self._pi, self._alpha = kind, pi, alpha

    def sample(
        self, pair: Pair, mixed: bool, label: Any, stream: np.random.Generator, *, with_pair: bool = False
    ) -> Sample:
        """Compute one sample; only the images that the draw needs are decoded.

        Args:
            pair: the two images.
            mixed: whether the generated image takes part.
            label: of the row.
            stream: random numbers of the sample; the same ones are drawn in every arm.
            with_pair: return the generated image beside a sample that is not mixed.

        Raises:
            UnreadableImage: an image that is needed cannot be decoded.
        """
        # Kind `none` draws as `both` does, so that all arms of a comparison have the same crops.
        draw = draw_mix(stream, pi=self._pi, alpha=self._alpha, kind="both" if self._kind == "none" else self._kind)
        alone = mixed and self._kind == "none"
        frame = pair.generated_alone() if alone else pair.real()
        crop = framing.draw_crop(stream, self.protocol, *frame.shape[-2:])
        if mixed and not alone:
            started = time.perf_counter()
            image, share = self._mix(pair, frame, crop, draw)
            seconds = time.perf_counter() - started
            return Sample(self._augmented(image, crop, self._seed(stream)), label, draw, share, seconds)
        image = framing.cropped(frame, crop, self.protocol)
        seed = self._seed(stream)
        second = None
        if with_pair and not alone:
            second = self._augmented(self._cropped_generated(pair, crop, *frame.shape[-2:]), crop, seed)
        return Sample(self._augmented(image, crop, seed), label, share=0.0 if alone else 1.0, pair=second)

    def _mix(self, pair: Pair, frame: Tensor, crop: Crop, draw: MixDraw) -> tuple[Tensor, float]:
        """Return the mix of both images in the crop, and the share of it that is real."""
        height, width = frame.shape[-2:]
        real = framing.cropped(frame, crop, self.protocol)
        generated = self._cropped_generated(pair, crop, height, width)
        if self.protocol.resize is None:
            # The crop comes first and both images are read through it, so they are mixed at the training size.
            image = apply_mix(real, generated, draw)
            return image, real_share(draw, *image.shape[-2:])
        # Both are cropped before they are mixed, which is cheaper; the box keeps its place in the frame.
        image = apply_mix(real, generated, draw, (height, width), (crop.top, crop.left))
        return image, real_share(draw, height, width)

    def _cropped_generated(self, pair: Pair, crop: Crop, height: int, width: int) -> Tensor:
        """Return the part of the generated image that the crop shows, in a frame of `height` x `width`."""
        if self.protocol.resize is None:
            return framing.cropped_through(pair.generated(), crop, self.protocol, height, width)
        return framing.cropped(pair.generated_covering(height, width), crop, self.protocol)

    def _seed(self, stream: np.random.Generator) -> int:
        """Draw the seed of the classical augmentation, if there is any."""
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
