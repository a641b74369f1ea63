"""The parts of a training: network, mixer, optimiser, schedule and averaged weights, built from a recipe.

Owns the order in which they are built. Does not read a checkpoint nor take a step (loop.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from timm.scheduler.scheduler import Scheduler
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing
from diffcore_hf.training.engine import optimisers
from diffcore_hf.training.engine.forward import BatchLoss
from diffcore_hf.training.engine.mixer_parameters import add_to_optimiser
from diffcore_hf.training.mixers.base import Mixer
from diffcore_hf.training.networks import backbones

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class TrainingParts:
    """What a step calls and changes."""

    network: nn.Module
    """The network itself."""
    model: nn.Module
    """The network as it is trained: compiled and distributed, where the recipe and the launcher say so."""
    mixer: Mixer | None
    averaged: ModelEmaV3 | None
    """timm's exponential moving average of the weights; None where the recipe asks for none."""
    optimizer: Any
    """As accelerate wraps it."""
    schedule: Scheduler
    batch_loss: BatchLoss
    normalisation: framing.Normalisation
    """Of the pretrained weights, else of the recipe's protocol."""
    channels_last: bool
    network_groups: int
    """How many of the optimiser's groups are the network's; those of the mixer follow."""

    @property
    def scored_network(self) -> nn.Module:
        """The averaged weights where they exist, else the network."""
        if self.averaged is None:
            return self.network
        averaged: nn.Module = self.averaged.module
        return averaged

    @property
    def plain_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser without accelerate's wrapper."""
        return getattr(self.optimizer, "optimizer", self.optimizer)

    @property
    def learning_rate(self) -> float:
        """The highest learning rate among the network's groups."""
        return max(group["lr"] for group in self.plain_optimizer.param_groups[: self.network_groups])


def build_parts(
    recipe: TrainRecipe, mixer: Mixer | None, classes: int, steps: int, seed: int, accelerator: Accelerator
) -> TrainingParts:
    """Build the parts of a training, on the accelerator's device.

    Args:
        recipe: of the training.
        mixer: not yet prepared; None: nothing is mixed.
        classes: number of classes of the dataset.
        steps: of the training.
        seed: of the initial weights and of the mixer's draws.
        accelerator: device, precision and processes.

    Raises:
        UserError: see `backbones.create` and `optimisers.optimiser`; a network that the mixer cannot work with.
    """
    protocol = framing.protocol_of(recipe.transform)
    torch.manual_seed(int(seeding.generator("weights", seed).integers(2**62)))
    network = backbones.create(recipe.model, classes, protocol.size)
    if mixer is not None:
        mixer.prepare(network, (3, protocol.size, protocol.size))
        mixer.to(accelerator.device).train()
    normalisation = backbones.normalisation(recipe.model, network) or protocol.normalisation
    channels_last = recipe.model.channels_last and backbones.takes_channels_last(network, accelerator.device)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = optimisers.optimiser(network, recipe.optimizer)
    network_groups = len(optimizer.param_groups)
    add_to_optimiser(mixer, optimizer)
    schedule = optimisers.scheduler(optimizer, recipe.schedule, recipe.epochs, steps)
    # Copied before DDP and torch.compile wrap the network.
    averaged = _averaged(network, recipe.ema, accelerator.device)
    model, optimizer = accelerator.prepare(torch.compile(network) if recipe.model.compile else network, optimizer)
    batch_loss = BatchLoss(
        recipe,
        model,
        network,
        mixer,
        accelerator,
        seed=seed,
        normalisation=normalisation,
        channels_last=channels_last,
    )
    return TrainingParts(
        network=network,
        model=model,
        mixer=mixer,
        averaged=averaged,
        optimizer=optimizer,
        schedule=schedule,
        batch_loss=batch_loss,
        normalisation=normalisation,
        channels_last=channels_last,
        network_groups=network_groups,
    )


def check_batch_size(recipe: TrainRecipe, processes: int) -> None:
    """Check that processes and accumulated batches can share the samples of a step.

    Raises:
        UserError: they cannot, or a mixer would get single images.
    """
    parts = processes * recipe.accumulate
    if recipe.batch_size % parts:
        raise UserError(
            f"batch_size is {recipe.batch_size}, which {processes} processes with accumulate {recipe.accumulate} "
            f"cannot share equally. Use a multiple, e.g. --batch_size {-(-recipe.batch_size // parts) * parts}"
        )
    if recipe.mixer.name and recipe.batch_size == parts:
        raise UserError(
            f"batch_size is {recipe.batch_size}, of which each of {processes} processes takes 1 image at a time, but "
            f"{recipe.mixer.name} mixes the images of a batch. Use e.g. --batch_size {8 * parts}"
        )


def _averaged(network: nn.Module, decay: float | None, device: torch.device) -> ModelEmaV3 | None:
    """A copy of the network that will hold the exponential moving average of its weights."""
    if decay is None:
        return None
    return ModelEmaV3(network, decay=decay, device=device)
