"""Reads the first batches of a recipe with the loader of the training."""

from __future__ import annotations

import torch

from diffcore_hf.training.data import loader
from diffcore_hf.training.data.samples import train_samples
from diffcore_hf.training.data.training_data import load_data


def batches_of(recipe, *, workers=0, steps=8):
    data = load_data(recipe.data, recipe.mix)
    samples = train_samples(recipe, data, seed=3)
    sampler = loader.StepBatches(len(samples), 4, 3, 0, steps, accumulate=1, rank=0, world=1)
    batches = list(loader.batches(samples, sampler, workers=workers, pin=False))
    return torch.cat([b["images"] for b in batches]), torch.cat([b["labels"] for b in batches]), batches
