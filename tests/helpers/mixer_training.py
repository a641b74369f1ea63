"""Short trainings of a tiny network, which compare a mixer with a slow implementation of the same method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext

import torch
from mixing import batch
from torch import Tensor, nn

from diffcore_hf.training.mixers.base import BatchContext, Mixed, Mixer, evaluation_mode

Step = Callable[[BatchContext], Tensor]
"""Function that returns the loss of a batch. The network is `context.model`, in training mode."""


def mixer_loss(method: Mixer) -> Step:
    """Return a function that computes the loss of a batch with a mixer, as the training loop does."""

    def step(context: BatchContext) -> Tensor:
        with evaluation_mode(context.model) if method.uses_network else nullcontext():
            mixed = method(context)
        logits, targets = forward_pass(mixed, context.model)
        return (mixed.loss or context.loss)(logits, targets)

    return step


def forward_pass(mixed: Mixed, network: nn.Module) -> tuple[Tensor, Tensor]:
    """Return logits and targets of a mixed batch."""
    with mixed.during() as seen:
        logits = network(mixed.images)
    return logits.float(), mixed.targets if mixed.targets_after is None else mixed.targets_after(seen)


def losses(step: Step, network: nn.Module, *, steps: int = 50, rate: float = 0.1, count: int = 6) -> list[float]:
    """Train a copy of a network and return the loss of each step."""
    network = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    result = []
    for number in range(steps):
        torch.manual_seed(number)  # for the dropout layers
        loss = step(batch(count, seed=number, step=number, model=network))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        result.append(loss.item())
    return result


def assert_trains_alike(method: Mixer, slow: Step, network: nn.Module, *, rate: float = 0.1, count: int = 6) -> None:
    """Check that 50 steps have the same losses with a mixer and with a slow implementation of its method."""
    expected = losses(slow, network, rate=rate, count=count)
    actual = losses(mixer_loss(method), network, rate=rate, count=count)
    assert torch.allclose(torch.tensor(actual), torch.tensor(expected), rtol=2e-3, atol=2e-4), (actual, expected)
