"""Parameters and buffers of a mixer: adds parameters to the optimiser, and keeps all processes equal."""

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


def broadcast_buffers(mixer: Mixer | None, processes: int) -> None:
    """Copy the buffers of the mixer from process 0 to the other processes, as DDP does for the network.

    Every process must call this. A buffer can follow the running statistics of the network, which differ between
    processes until the next forward pass.
    """
    if mixer is None or processes == 1:
        return
    for buffer in mixer.buffers():
        torch.distributed.broadcast(buffer, 0)


def _trained(mixer: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in mixer.parameters() if parameter.requires_grad]
