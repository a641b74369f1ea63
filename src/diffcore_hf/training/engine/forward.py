"""The loss of a batch: normalises, mixes, runs the forward pass and computes the loss.

Owns the calls of mixer, network and loss. The mixer is chosen in mixers/registry.py, and the optimiser steps in
loop.py.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.loader import Batch
from diffcore_hf.training.engine.losses import classification_loss
from diffcore_hf.training.engine.randomness import mixer_generator
from diffcore_hf.training.mixers.base import BatchContext, Mixed, Mixer, evaluation_mode

if TYPE_CHECKING:
    from accelerate import Accelerator


class BatchLoss:
    """Computes the loss of one batch of the loader."""

    def __init__(
        self,
        recipe: TrainRecipe,
        model: nn.Module,
        network: nn.Module,
        mixer: Mixer | None,
        accelerator: Accelerator,
        *,
        seed: int,
        normalisation: framing.Normalisation,
        channels_last: bool,
    ):
        """Store the objects that every batch needs.

        Args:
            recipe: recipe of the training.
            model: the network with the wrappers of torch.compile and DDP, if they are used.
            network: the same network without wrappers, for the mixer.
            mixer: mixer on the device, after `prepare`; None: nothing is mixed.
            accelerator: device and precision.
            seed: seed of the training.
            normalisation: mean and standard deviation of the images.
            channels_last: memory format of the images.
        """
        self._model, self._network, self._mixer, self._accelerator = model, network, mixer, accelerator
        self._seed, self._normalisation = seed, normalisation
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._loss = partial(classification_loss, kind=recipe.loss, smoothing=recipe.smoothing)

    def __call__(self, batch: Batch, step: int, micro_batch: int) -> Tensor:
        """Return the mean loss of the readable images of a batch, with its autograd graph.

        Mixing and batch norm need at least two readable images. If there are fewer, the loss is zero. The network still
        computes it, because every process must run the backward pass.

        Args:
            batch: batch of the loader.
            step: number of the step, counted from 0.
            micro_batch: index of the accumulated batch within the step.
        """
        readable = batch["labels"] >= 0
        if readable.all():
            return self._loss_of(batch, step, micro_batch)
        if readable.sum() < 2:
            return 0.0 * self._model(self._on_device(batch["images"])).float().sum()
        return self._loss_of(_readable(batch, readable), step, micro_batch)

    def mixed_batch(self, batch: Batch, step: int, micro_batch: int) -> tuple[Tensor, Tensor]:
        """Return the images and targets that the loss of a batch reads, without its unreadable images.

        If the targets are known only after the forward pass, the network runs without gradient.
        """
        mixed = self.mixed(_readable(batch, batch["labels"] >= 0), step, micro_batch)
        if mixed.targets_after is None:
            return mixed.images, mixed.targets
        with torch.no_grad(), self._accelerator.autocast(), mixed.during() as context_value:
            self._model(mixed.images)
        return mixed.images, mixed.targets_after(context_value)

    def _loss_of(self, batch: Batch, step: int, micro_batch: int) -> Tensor:
        mixed = self.mixed(batch, step, micro_batch)
        with self._accelerator.autocast(), mixed.during() as context_value:
            logits = self._model(mixed.images)
        targets = mixed.targets if mixed.targets_after is None else mixed.targets_after(context_value)
        loss = mixed.loss or self._loss
        return loss(logits.float(), targets)

    def mixed(self, batch: Batch, step: int, micro_batch: int) -> Mixed:
        """Return the input of the network: the normalised images of a batch, mixed if there is a mixer.

        All images must be readable. The arguments are those of `__call__`.
        """
        device = self._accelerator.device
        images = self._on_device(batch["images"])
        targets = batch["targets"] if "targets" in batch else batch["labels"]
        targets = targets.to(device, non_blocking=True)
        if self._mixer is None:
            return Mixed(images, targets)
        pairs, pair_targets = batch.get("pairs"), batch.get("pair_targets")
        context = BatchContext(
            images=images,
            targets=targets,
            keys=batch["keys"],
            seed=self._seed,
            generator=mixer_generator(self._seed, step, micro_batch, self._accelerator.process_index),
            model=self._network,
            loss=self._loss,
            autocast=self._accelerator.autocast,
            pairs=None if pairs is None else self._on_device(pairs),
            pair_targets=None if pair_targets is None else pair_targets.to(device, non_blocking=True),
            loader_tensors={
                name: tensor.to(device, non_blocking=True) for name, tensor in batch.get("loader_tensors", {}).items()
            },
            normalisation=self._normalisation,
            views=batch.get("views"),
        )
        with evaluation_mode(self._network) if self._mixer.uses_network else nullcontext():
            return self._mixer(context)

    def _on_device(self, images: Tensor) -> Tensor:
        """Return normalised float32 images on the device, in the network's memory format."""
        images = framing.normalised(images.to(self._accelerator.device, non_blocking=True), self._normalisation)
        return images.contiguous(memory_format=self._format)


def _readable(batch: Batch, readable: Tensor) -> Batch:
    """Return the batch without its unreadable images."""
    indices = readable.nonzero().flatten().tolist()
    names = ("images", "labels", "targets", "pairs", "pair_targets", "views")
    tensors = {name: batch[name][readable] for name in names if name in batch}
    loader_tensors = {name: tensor[readable] for name, tensor in batch.get("loader_tensors", {}).items()}
    return tensors | {"keys": [batch["keys"][index] for index in indices], "loader_tensors": loader_tensors}
