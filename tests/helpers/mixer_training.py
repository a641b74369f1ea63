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
MakeBatch = Callable[[int, nn.Module], BatchContext]
"""Function that returns the batch of a step. Its arguments are the number of the step and the network."""
STEPS = 50


def mixer_loss(method: Mixer) -> Step:
    """Return a function that mixes a batch and computes its loss, as the training loop does."""

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


def noise_batch(count: int) -> MakeBatch:
    """Return a function that makes the batch of a step. The batch has `count` images of noise."""
    return lambda step, network: batch(count, seed=step, step=step, model=network)


def losses(step: Step, network: nn.Module, make_batch: MakeBatch, *, rate: float) -> list[float]:
    """Train a copy of a network for 50 steps, and return the loss of each step."""
    network = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    result = []
    for number in range(STEPS):
        torch.manual_seed(number)  # for the dropout layers
        loss = step(make_batch(number, network))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        result.append(loss.item())
    return result


def assert_trains_alike(method: Mixer, slow: Step, network: nn.Module, *, rate: float = 0.1, count: int = 6) -> None:
    """Check that 50 steps have the same losses with a mixer and with a slow implementation of its method."""
    assert_equal_losses(mixer_loss(method), slow, network, noise_batch(count), rate=rate)


def assert_equal_losses(fast: Step, slow: Step, network: nn.Module, make_batch: MakeBatch, *, rate: float) -> None:
    """Check that two functions have the same losses in 50 steps, and that the losses change."""
    expected = losses(slow, network, make_batch, rate=rate)
    assert max(expected) - min(expected) > 0.1, "the training changes nothing"
    actual = losses(fast, network, make_batch, rate=rate)
    assert torch.allclose(torch.tensor(actual), torch.tensor(expected), rtol=2e-3, atol=2e-4), (actual, expected)
