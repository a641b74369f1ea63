"""The parts of a training: network, mixer, optimiser, schedule and averaged weights, built from a recipe.

Owns the order in which they are built. Checkpoints are read and steps are taken in loop.py.
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
from diffcore_hf.training.data import framing
from diffcore_hf.training.engine import optimisers
from diffcore_hf.training.engine.checks import check_batch_norm
from diffcore_hf.training.engine.forward import BatchLoss
from diffcore_hf.training.engine.mixer_parameters import add_to_optimiser
from diffcore_hf.training.mixers.base import Mixer
from diffcore_hf.training.networks import backbones

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class TrainingParts:
    """The objects that a training step uses and changes."""

    network: nn.Module
    """The network without wrappers."""
    model: nn.Module
    """The network with the wrappers of torch.compile and DDP, if they are used."""
    mixer: Mixer | None
    averaged: ModelEmaV3 | None
    """timm's exponential moving average of the weights; None if the recipe has no `ema`."""
    optimizer: Any
    """The optimiser in the wrapper of accelerate."""
    schedule: Scheduler
    batch_loss: BatchLoss
    normalisation: framing.Normalisation
    """Normalisation of the pretrained weights. If there are no such weights, the normalisation of the recipe's
    protocol."""
    channels_last: bool
    network_groups: int
    """Number of the optimiser's groups that belong to the network; the groups of the mixer follow."""

    @property
    def scored_network(self) -> nn.Module:
        """The network with averaged weights if it exists, else the network."""
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
        recipe: recipe of the training.
        mixer: mixer before `prepare`; None: nothing is mixed.
        classes: number of classes of the dataset.
        steps: number of steps of the training.
        seed: seed of the initial weights and of the mixer's draws.
        accelerator: device, precision and processes.

    Raises:
        UserError: the network or the optimiser cannot be built (see `backbones.create`, `optimisers.optimiser`), or the
            mixer or the batch size does not work with the network.
    """
    protocol = framing.protocol_of(recipe.transform)
    torch.manual_seed(int(seeding.generator("weights", seed).integers(2**62)))
    network = backbones.create(recipe.model, classes, protocol.size)
    shape = (3, protocol.size, protocol.size)
    check_batch_norm(recipe, network, shape, accelerator.num_processes)
    if mixer is not None:
        mixer.prepare(network, shape)
        mixer.to(accelerator.device).train()
    normalisation = backbones.normalisation(recipe.model, network) or protocol.normalisation
    channels_last = recipe.model.channels_last and backbones.takes_channels_last(network, accelerator.device)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = optimisers.optimiser(network, recipe.optimizer)
    network_groups = len(optimizer.param_groups)
    add_to_optimiser(mixer, optimizer)
    schedule = optimisers.scheduler(optimizer, recipe.schedule, recipe.epochs, steps)
    # The weights are copied before DDP and torch.compile wrap the network.
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


def _averaged(network: nn.Module, decay: float | None, device: torch.device) -> ModelEmaV3 | None:
    """Return a copy of the network for the exponential moving average of its weights; None if `decay` is None."""
    if decay is None:
        return None
    return ModelEmaV3(network, decay=decay, device=device)
