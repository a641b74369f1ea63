"""The first batch of a training as the network gets it, for a picture.

The batch is read, mixed and labelled by the objects of a training (loop.py), with the same random numbers. No step is
taken, and nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.training_data import TrainingData
from diffcore_hf.training.engine.loop import Training
from diffcore_hf.training.engine.randomness import seed_step

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class FirstBatch:
    """The images and targets of the first batch."""

    images: Tensor
    """(B, 3, S, S) uint8: after mixing, before normalisation."""
    targets: Tensor
    """(B, K) float32: weight of each class."""
    mixed_inside: bool
    """True if the targets are mixed and the images are not, because the mixer mixes inside the network."""


def first_batch(
    recipe: TrainRecipe, data: TrainingData, seed: int, folder: Path, accelerator: Accelerator
) -> FirstBatch:
    """Return the batch of step 0.

    Args:
        recipe: recipe of an arm.
        data: data that was loaded for the arm.
        seed: seed of the training.
        folder: a path that does not exist; nothing is written to it.
        accelerator: device and precision.

    Raises:
        UserError: a part of the training cannot be built, the mixer does not work with the network, or no image of the
            batch can be read.
    """
    # With one step, a mixer that computes maps of rows reads only the rows of this batch.
    recipe = replace(
        recipe,
        workers=0,
        cache=None,
        accumulate=1,
        trackers=(),
        max_steps=1,
        model=replace(recipe.model, compile=False),
    )
    training = Training(recipe, data, seed, folder, accelerator)
    batch = next(iter(training.batches()))
    readable = batch["labels"] >= 0
    if not readable.any():
        raise UserError(
            f"no image of the first batch of {recipe.data.path} can be read. Use another --seeds, or correct the data"
        )
    parts = training.parts
    parts.model.train()
    seed_step(seed, 0, 0, 0)
    images, targets = parts.batch_loss.mixed_batch(batch, 0, 0)
    count = int(readable.sum())
    # A mixer whose loss reads several views of each image returns the mixed views last.
    shown = _pixels(images[-count:], parts.normalisation)
    if targets.ndim == 1:
        targets = functional.one_hot(targets, len(data.classes))
    soft = recipe.mixer.name is not None and bool((targets.float().amax(1) < 1).any())
    return FirstBatch(shown, targets.float().cpu(), soft and torch.equal(shown, batch["images"][readable]))


def _pixels(images: Tensor, normalisation: framing.Normalisation) -> Tensor:
    """Undo the normalisation: (B, 3, S, S) float -> uint8."""
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in normalisation)
    return ((images.detach().float().cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
