"""Parameters of a mixer: adds them to the optimiser, and averages their gradients over processes."""

from __future__ import annotations

import torch
from torch import nn

from diffcore_hf.training.mixers.base import Mixer


def add_to_optimiser(mixer: Mixer | None, optimizer: torch.optim.Optimizer) -> None:
    """Add the mixer's parameter groups after the groups of the network. A setting that a group lacks has its default.

    Args:
        mixer: mixer after `prepare`; None: nothing is added.
        optimizer: optimiser of the network, before the schedule is built.
    """
    for group in mixer.parameter_groups() if mixer is not None else ():
        optimizer.add_param_group(dict(group))


def average_gradients(mixer: Mixer | None, processes: int) -> None:
    """Average the gradients of the mixer's parameters over all processes, as DDP does for the network.

    Every process must call this, with the same parameters; a missing gradient is treated as zero.
    """
    if mixer is None or processes == 1:
        return
    for parameter in _trained(mixer):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= processes


def _trained(mixer: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in mixer.parameters() if parameter.requires_grad]
