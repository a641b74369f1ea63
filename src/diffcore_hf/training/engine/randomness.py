"""Random numbers of a step. They depend only on (seed, step), so that a checkpoint needs no random state."""

from __future__ import annotations

import numpy as np
import torch

from diffcore_hf.core import seeding


def seed_step(seed: int, step: int, micro_batch: int, rank: int) -> None:
    """Seed the global generators of torch and numpy, from which layers draw (dropout, stochastic depth).

    Args:
        seed: seed of the training.
        step: number of the step, counted from 0.
        micro_batch: index of the accumulated batch within the step.
        rank: index of this process.
    """
    stream = seeding.generator("step", seed, step, micro_batch, rank)
    torch.manual_seed(int(stream.integers(2**62)))
    np.random.seed(int(stream.integers(2**32)))


def mixer_generator(seed: int, step: int, micro_batch: int, rank: int) -> np.random.Generator:
    """Return the random generator of a mixer for a whole batch; the arguments are as for `seed_step`."""
    return seeding.generator("mixer step", seed, step, micro_batch, rank)
