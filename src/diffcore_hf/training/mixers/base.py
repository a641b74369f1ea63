"""Base class of mixers: modules that mix a batch and are called once for each batch, before the forward pass.

Owns the base class, and the two records that the training loop and a mixer exchange. The loop builds a `BatchContext`
and the mixer returns `Mixed`. The loop then runs the forward pass and the loss with the values in `Mixed`. A row is
mixed with its own generated image in the transform (method/mixing.py), not here.

A mixer must not change the gradients (`.grad`), the weights and buffers of the network, the training flags of its
modules, or the global random generators. It can compute gradients with `torch.autograd.grad`.
tests/training/mixers/test_conformance.py checks this for every registered mixer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from diffcore_hf.core import seeding
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.data.row_images import RowImages

Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of float32 logits (B, K) against class indices (B,) or probabilities (B, K)."""


@dataclass(frozen=True)
class BatchContext:
    """A batch, and the objects that a mixer may use."""

    images: Tensor
    """(B, 3, H, W) float, normalised, on the device."""
    targets: Tensor
    """(B,) int64 class indices, or (B, K) float32 probabilities if a label may have several classes. Unreadable images
    are already removed."""
    keys: Sequence[SampleKey]
    """The key of each image. Draws from it do not depend on batch, process or order."""
    seed: int
    """Seed of the training."""
    generator: np.random.Generator
    """Random numbers for the whole batch. They depend only on (seed, step, accumulated batch, process)."""
    model: nn.Module
    """The network without DDP and torch.compile. It is in evaluation mode, unless `Mixer.uses_network` is false."""
    loss: Loss
    """The loss of the recipe."""
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Context manager for the precision of the forward pass: `with context.autocast(): context.model(...)`."""
    pairs: Tensor | None = None
    """(B, 3, H, W): each row's own generated image, cropped and flipped like `images`. A row without a generated image
    has its real image here. None unless `Mixer.asks_for_pairs` is true."""
    pair_targets: Tensor | None = None
    """(B, K) float32: labels of `pairs`, if `targets` are probabilities. None: the labels of `pairs` are `targets`."""
    loader_tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """(B, ...) for each name: the results of `Mixer.loader_tensors` for all images of the batch."""

    normalisation: framing.Normalisation = framing.IDENTITY
    """Mean and standard deviation of `images`, on the scale [0, 1]."""

    views: Tensor | None = None
    """(B, 5) float32 on the CPU: the part of its image that each sample shows (`framing.View`)."""

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of `images`."""
        return _memory_format(self.images)

    def pixels(self) -> Tensor:
        """Return the images before normalisation, (B, 3, H, W) float32 on the scale [0, 1]."""
        return self.pixels_of(self.images)

    def pixels_of(self, images: Tensor) -> Tensor:
        """Undo the normalisation of images that are normalised like the images of the batch."""
        images = images.float()
        mean, std = (images.new_tensor(values).reshape(3, 1, 1) for values in self.normalisation)
        return images * std + mean

    def normalised(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, 3, H, W) normalised like `images`, in their dtype and memory format."""
        result = framing.normalised(images, self.normalisation).to(self.images.dtype)
        return result.contiguous(memory_format=self.memory_format)

    def streams(self) -> list[np.random.Generator]:
        """Return one random generator for each image, which depends only on the seed and the key of the image."""
        return [seeding.generator("mixer", self.seed, *key) for key in self.keys]


def _memory_format(images: Tensor) -> torch.memory_format:
    last = torch.channels_last
    return last if images.is_contiguous(memory_format=last) and not images.is_contiguous() else torch.contiguous_format


@dataclass(frozen=True)
class Mixed:
    """The images and targets that replace the original ones in the forward pass and the loss."""

    images: Tensor
    """(V, 3, H, W): input of the network. V may differ from B if the mixer defines its own loss."""
    targets: Tensor
    """(B,) int64 or (B, K) float."""
    during: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Function that returns the context manager around the forward pass, e.g. one that registers and removes a hook."""
    targets_after: Callable[[Any], Tensor] | None = None
    """Computes targets that are known only after the forward pass, from the value that `during` yields."""
    loss: Loss | None = None
    """Loss of (logits, targets) that the mixer defines itself; None: the loss of the recipe."""


@dataclass(frozen=True)
class MixerSetup:
    """Settings that every mixer has, in addition to its own options."""

    classes: int
    probability: float = 1.0
    """Probability that an image, or the whole batch, is mixed."""
    per: Literal["image", "batch"] = "image"
    """`image`: each image has its own random draws. `batch`: all images of a batch share one draw."""
    partner: Literal["batch", "own"] = "batch"
    """`batch`: images of the batch are mixed with each other. `own`: each image is mixed with its row's own generated
    image."""
    seed: int = 0
    """Seed of the training, for draws in `Mixer.loader_tensors`. In `Mixer.forward` use the seed of the context."""


class Mixer(nn.Module):
    """Base class of mixers. Keyword-only parameters of the constructor are the options in a recipe.

    Parameters and buffers of a mixer are written to the checkpoint. Do not assign the network or another frozen model
    to an attribute, because its weights would also be written. Use the network of the context, and store other models
    in a tuple.
    """

    asks_for_pairs: bool = False
    """Whether the loader adds each row's own generated image (`BatchContext.pairs`)."""
    partners: ClassVar[tuple[str, ...]] = ("batch",)
    """Values of `MixerSetup.partner` that the mixer supports."""
    mixes_batch: ClassVar[bool] = True
    """Whether an image can be mixed with other images of the batch."""
    uses_network: ClassVar[bool] = True
    """Whether the network is set to evaluation mode while the mixer is called. False saves two loops over the modules
    of the network. `BatchContext.model` is then in training mode: the mixer may register hooks on it, but must not call
    it."""

    def __init__(self, setup: MixerSetup):
        super().__init__()
        self.setup = setup

    @property
    def needs_two_images(self) -> bool:
        """Whether images are mixed with each other, so that a batch of one image cannot be mixed."""
        return self.mixes_batch and self.setup.partner == "batch"

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Check the network and build parameters that depend on it; called once, before the optimiser is built.

        Args:
            network: the network before DDP and torch.compile.
            shape: (channels, height, width) of the training images.

        Raises:
            Unsupported: this mixer does not work with the network.
            UserError: an option has a value that does not work with the network.
        """

    def check_rows(self, reason: str) -> None:
        """Check that the mixer can use what it computes for each row (`read_rows`); called before any training.

        Args:
            reason: why a sample does not always show a part of its row's image. Empty if it always does.

        Raises:
            UserError: an option of the mixer needs samples that show parts of the images of their rows.
        """

    def read_rows(self, rows: RowImages) -> None:
        """Compute what the mixer needs for each training row; called once, after `prepare` and before the first step.

        Args:
            rows: the training rows and their images. The mixer itself is on the device already.
        """

    def loader_tensors(self, image: Tensor, key: SampleKey) -> Mapping[str, Tensor]:
        """Return tensors of one image for `BatchContext.loader_tensors`; called in the worker processes of the loader.

        Args:
            image: (3, H, W) uint8, cropped and flipped.
            key: key of the sample.
        """
        return {}

    def forward(self, context: BatchContext) -> Mixed:
        """Mix a batch."""
        raise NotImplementedError

    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """Return optimiser groups of the mixer's own parameters: `params`, and settings that differ, such as `lr`."""
        return []

    def after_step(self, network: nn.Module, progress: float) -> None:
        """Update state that depends on the weights, such as their average; called after each optimiser step.

        Args:
            network: the network without DDP and torch.compile.
            progress: finished share of the steps of the training, in (0, 1].
        """


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Set all modules of a network to evaluation mode, and restore the flag of each module afterwards."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def one_hot(targets: Tensor, classes: int) -> Tensor:
    """Return probabilities (B, K) float32: class indices (B,) as one-hot vectors, probabilities (B, K) unchanged."""
    if targets.ndim == 2:
        return targets.float()
    return torch.nn.functional.one_hot(targets, classes).float()
