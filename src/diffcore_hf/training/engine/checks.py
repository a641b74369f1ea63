"""Checks of the batch size of a training with its mixer and its network."""

from __future__ import annotations

import copy

import torch
from torch import nn

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.base import Mixer


def check_batch_size(recipe: TrainRecipe, mixer: Mixer | None, processes: int) -> None:
    """Check that the samples of a step can be divided equally among processes and accumulated batches.

    Args:
        recipe: recipe of the training.
        mixer: mixer of the recipe; None: nothing is mixed.
        processes: number of processes of the training.

    Raises:
        UserError: the samples cannot be divided equally, or a mixer of several images would get one image at a time.
    """
    parts = processes * recipe.accumulate
    if recipe.batch_size % parts:
        raise UserError(
            f"batch_size is {recipe.batch_size}, which {processes} processes with accumulate {recipe.accumulate} "
            f"cannot share equally. Use a multiple, e.g. --batch_size {-(-recipe.batch_size // parts) * parts}"
        )
    if mixer is not None and mixer.needs_two_images and recipe.batch_size == parts:
        raise _one_image(recipe, processes, f"{recipe.mixer.name} mixes the images of a batch")


def check_batch_norm(recipe: TrainRecipe, network: nn.Module, shape: tuple[int, int, int], processes: int) -> None:
    """Check that the network can be trained with the images that a process gets at a time.

    Batch norm of a feature map of one position needs two images. A copy of the network is tried with one image if a
    process gets only one.

    Args:
        recipe: recipe of the training.
        network: the network on the CPU; it is not changed.
        shape: (channels, height, width) of the images.
        processes: number of processes of the training.

    Raises:
        UserError: a process gets one image at a time, and the batch norm of the network needs two.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if recipe.batch_size != processes * recipe.accumulate or not norms:
        return
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            copy.deepcopy(network).train()(torch.zeros(1, *shape))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise _one_image(recipe, processes, f"the batch norm of {recipe.model.name} needs 2") from error


def _one_image(recipe: TrainRecipe, processes: int, reason: str) -> UserError:
    return UserError(
        f"batch_size is {recipe.batch_size}, of which each of {processes} processes takes 1 image at a time, but "
        f"{reason}. Use e.g. --batch_size {8 * processes * recipe.accumulate}"
    )
