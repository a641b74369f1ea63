"""Denoising steps: records the arguments of the scheduler while a pipeline generates images."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Step(NamedTuple):
    """The arguments of one step of a scheduler."""

    prediction: torch.Tensor
    t: Any
    latents: torch.Tensor


def recorded_steps(pipe: Any) -> list[Step]:
    """Returns a list to which each later step of the pipeline is added. The tensors are copies."""
    steps: list[Step] = []
    step = pipe.scheduler.step

    def record(prediction, t, sample, **options):
        steps.append(Step(prediction.clone(), t, sample.clone()))
        return step(prediction, t, sample, **options)

    pipe.scheduler.step = record
    return steps
