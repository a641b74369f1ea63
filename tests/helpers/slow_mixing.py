"""Short trainings with a mixer, and with an independent implementation of the same method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from mixer_training import assert_equal_losses, mixer_loss
from mixing import CLASSES, SmallNetwork, batch, mixer
from torch import Tensor, nn

from diffcore_hf.core import seeding
from diffcore_hf.training.mixers.base import BatchContext, evaluation_mode

SlowMix = Callable[[BatchContext], tuple[Tensor, Tensor]]
"""Function of a batch that returns the mixed images and the (B, K) labels."""
SMALL = 12
"""Side of the images, small enough for loops over pixels."""


def assert_same_training(
    name: str,
    slow: SlowMix | None = None,
    *,
    loss: Callable[[BatchContext, nn.Module], Tensor] | None = None,
    **keys,
) -> None:
    """Train a small network for 50 steps with a mixer, and again with `slow`. All losses must be equal.

    If the method has its own loss, `loss` replaces `slow`. It computes the loss from a batch and the network.
    """
    method = mixer(name, network=network(), **keys)

    def of_slow(context: BatchContext) -> Tensor:
        if loss is not None:
            return loss(context, context.model)
        with evaluation_mode(context.model):
            images, labels = slow(context)
        return -(labels * context.model(images).log_softmax(1)).sum(1).mean()

    assert_equal_losses(mixer_loss(method), of_slow, network(), small_batch, rate=0.2)


def network() -> SmallNetwork:
    """Return a small network without dropout. Its weights are the same in each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolution = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        return SmallNetwork(convolution, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))


def small_batch(step: int, model: nn.Module | None = None) -> BatchContext:
    """Return the batch of a step: five images of noise. The epoch in their keys is the number of the step."""
    context = batch(5, seed=step, step=step, model=model)
    keys = [key._replace(epoch=step) for key in context.keys]
    shift = context.images.roll((step, step), (2, 3))[..., :SMALL, :SMALL].contiguous()
    return replace(context, images=shift, keys=keys)


def draws_of(context: BatchContext) -> list[tuple[int, np.random.Generator]]:
    """Return for each image the index of its partner, and its random generator after two draws (`per: image`)."""
    streams = [seeding.generator("mixer", context.seed, *key) for key in context.keys]
    positions = [stream.random() for stream in streams]
    for stream in streams:
        stream.random()  # decides whether the image is mixed
    result = []
    for own, stream in zip(positions, streams, strict=True):
        later = [position for position in positions if position > own]
        result.append((positions.index(min(later or positions)), stream))
    return result


def batch_draws_of(context: BatchContext) -> list[tuple[int, np.random.Generator]]:
    """Return for each image the index of its partner, and a random generator after the draws (`per: batch`).

    All generators give the same numbers, because all images share one draw.
    """
    stream = context.generator
    partners = stream.permutation(len(context.images))
    stream.random()  # decides whether the batch is mixed
    return [(int(partner), copy.deepcopy(stream)) for partner in partners]


DRAWS = {"image": draws_of, "batch": batch_draws_of}
"""Value of `per` -> function that returns the partner and the random generator of each image."""


def label(context: BatchContext, own: int, partner: int, share: float) -> Tensor:
    """Return the label of a mix: the class of image `own` has weight `share`, and that of `partner` has the rest."""
    row = torch.zeros(CLASSES)
    row[context.targets[own]] += share
    row[context.targets[partner]] += 1 - share
    return row
