"""Steps of a training of tokens: the random draws, and what the network has to predict.

Owns the settings of the training. The functions are pure. The training is in token_training.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcore_hf.core import seeding

PREDICTIONS = ("epsilon", "v_prediction")
"""Values of `prediction_type` in the configuration of a scheduler for which `target` is defined."""


@dataclass(frozen=True)
class TokenSettings:
    """The settings with which tokens are learned."""

    steps: int
    """Optimiser steps of one training."""
    batch: int
    """Number of images in a step."""
    rate: float
    """Learning rate of AdamW; it is constant."""
    seed: int
    alone: bool
    """True: each token is learned in a training of its own. False: all tokens are learned in one training."""
    lora_rank: int = 0
    """Rank of the LoRA that is learned together with the tokens; 0: no LoRA is learned."""
    lora_rate: float = 5e-5
    """Learning rate of the LoRA."""


@dataclass(frozen=True)
class StepDraw:
    """The random draws of one step."""

    images: Tensor
    """(B,) int64: indices of the images."""
    times: Tensor
    """(B,) int64: time steps of the noise, uniform over all time steps of the model."""
    latent_noise: Tensor
    """(B, c, h, w) float32: noise of the sample from the VAE."""
    noise: Tensor
    """(B, c, h, w) float32: noise that is added to the latents and predicted."""


def draw_step(
    settings: TokenSettings, training: int, step: int, images: Tensor, shape: Sequence[int], times: int
) -> StepDraw:
    """Return the draws of a step. They depend on the seed, the training and the step alone.

    Args:
        settings: the settings.
        training: number of the training: 0, 1, ...
        step: number of the step: 0, 1, ...
        images: (M,) int64: indices of the images of this training. Each epoch uses every image once, in another order.
        shape: shape of the latents of one image.
        times: number of time steps of the model.
    """
    chosen = []
    for position in range(step * settings.batch, (step + 1) * settings.batch):
        epoch, place = divmod(position, len(images))
        order = seeding.generator("tokens", settings.seed, training, epoch).permutation(len(images))
        chosen.append(int(images[order[place]]))
    number = int.from_bytes(seeding.digest("token noise", settings.seed, training, step)[:8], "big") >> 1
    generator = torch.Generator("cpu").manual_seed(number)
    drawn = torch.randint(0, times, (settings.batch,), generator=generator)
    latent_noise = torch.randn(settings.batch, *shape, generator=generator)
    return StepDraw(torch.tensor(chosen), drawn, latent_noise, torch.randn(settings.batch, *shape, generator=generator))


def noised(latents: Tensor, noise: Tensor, alphas: Tensor) -> Tensor:
    """Return sqrt(a) x + sqrt(1 - a) eps for latents x (B, c, h, w), noise eps and cumulated alphas a (B,)."""
    kept = alphas.view(-1, 1, 1, 1)
    return kept.sqrt() * latents + (1 - kept).sqrt() * noise


def target(latents: Tensor, noise: Tensor, alphas: Tensor, prediction: str) -> Tensor:
    """Return what the network has to predict: eps, or v = sqrt(a) eps - sqrt(1 - a) x (Salimans and Ho 2022).

    Args:
        latents: (B, c, h, w), x.
        noise: (B, c, h, w), eps.
        alphas: (B,), a.
        prediction: one of PREDICTIONS.
    """
    if prediction == "epsilon":
        return noise
    kept = alphas.view(-1, 1, 1, 1)
    return kept.sqrt() * noise - (1 - kept).sqrt() * latents
