"""What a mixer is: a module that is called once for each batch before the forward pass.

Owns the two records that pass between the training loop and a mixer, and the base class. The loop builds a
`BatchContext`, the mixer returns `Mixed`, and the loop runs the forward pass and the loss as `Mixed` says. Mixing a row
with its own generated image happens in the transform (method/mixing.py), not here.

A mixer must leave alone: gradients (`.grad`; use `torch.autograd.grad`), the weights and buffers of the network, the
training flags of its modules, and the global random generators. tests/training/mixers/test_conformance.py checks this
for every registered mixer.
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
from diffcore_hf.training.data.keys import SampleKey

Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of float32 logits (B, K) against class indices (B,) or probabilities (B, K)."""


@dataclass(frozen=True)
class BatchContext:
    """A batch and what a mixer may use beside it."""

    images: Tensor
    """(B, 3, H, W) float, normalised, on the device."""
    targets: Tensor
    """(B,) int64 class indices, all of them readable images."""
    keys: Sequence[SampleKey]
    """The key of each image: draws that follow from it depend on no batch, process or order."""
    seed: int
    """Seed of the training."""
    generator: np.random.Generator
    """Draws of this batch, a function of (seed, step, part of the step, process)."""
    model: nn.Module
    """The network itself: without DDP and torch.compile, in evaluation mode unless the mixer says otherwise
    (`Mixer.uses_network`)."""
    loss: Loss
    """The loss of the recipe."""
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    """The precision of the forward pass; `with context.autocast(): context.model(...)`."""
    pairs: Tensor | None = None
    """(B, 3, H, W): each row's own generated image, cropped and flipped like `images`; a row without one has its real
    image here. None unless the mixer sets `asks_for_pairs`."""
    loader_tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """(B, ...) for each name: the results of `Mixer.loader_tensors` for all images of the batch."""

    def streams(self) -> list[np.random.Generator]:
        """Returns one stream of random numbers for each image, a function of (seed, key)."""
        return [seeding.generator("mixer", self.seed, *key) for key in self.keys]


@dataclass(frozen=True)
class Mixed:
    """What the forward pass and the loss of a batch use in place of images and targets."""

    images: Tensor
    """What the network sees, (V, 3, H, W)."""
    targets: Tensor
    """(B,) int64 or (B, K) float."""
    during: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Makes the context manager around the forward pass, e.g. one that registers a hook and removes it."""
    targets_after: Callable[[Any], Tensor] | None = None
    """Targets that are known after the forward pass only: a function of what `during` yields."""
    loss: Loss | None = None
    """The mixer's own loss of (logits, targets); None: that of the recipe."""


@dataclass(frozen=True)
class MixerSetup:
    """What every mixer is built with, beside the options of its own."""

    classes: int
    probability: float = 1.0
    """How often an image, or a whole batch, is mixed."""
    per: Literal["image", "batch"] = "image"
    """Whether each image has draws of its own, or the batch has one."""


class Mixer(nn.Module):
    """Base class of mixers; keyword-only parameters of the constructor are the options in a recipe.

    Parameters and buffers are written to the checkpoint. Do not assign the network or another frozen model as an
    attribute, because it would become part of them: take the network from the context, keep other models in a tuple.
    """

    asks_for_pairs: ClassVar[bool] = False
    """Whether the loader adds each row's own generated image (`BatchContext.pairs`)."""
    uses_network: ClassVar[bool] = True
    """Whether the network is put into evaluation mode while the mixer is called. False spares two walks over its
    modules; `BatchContext.model` is in training mode then, and may be hooked but not called."""

    def __init__(self, setup: MixerSetup):
        super().__init__()
        self.setup = setup

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Check the network and build what depends on it; called once, before the optimiser is built.

        Args:
            network: not yet wrapped or compiled.
            shape: (channels, height, width) of the training images.

        Raises:
            UserError: the network cannot carry this mixer.
        """

    def loader_tensors(self, image: Tensor, key: SampleKey) -> Mapping[str, Tensor]:
        """Returns tensors of one image for `BatchContext.loader_tensors`; called in the worker processes of the loader.

        Args:
            image: (3, H, W) uint8, cropped and flipped.
            key: key of the sample.
        """
        return {}

    def forward(self, context: BatchContext) -> Mixed:
        """Mix a batch."""
        raise NotImplementedError

    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """Returns optimiser groups of the mixer's own parameters: `params` and where they differ, e.g. `lr`."""
        return []

    def after_step(self, network: nn.Module, progress: float) -> None:
        """Update what follows the network, such as an average of its weights; called after each optimiser step.

        Args:
            network: without DDP and torch.compile.
            progress: share of the training's steps that are done, in (0, 1].
        """


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put all modules of a network into evaluation mode, and give each its own flag back afterwards."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def one_hot(targets: Tensor, classes: int) -> Tensor:
    """(B,) int64 class indices -> (B, K) float32."""
    return torch.nn.functional.one_hot(targets, classes).float()
