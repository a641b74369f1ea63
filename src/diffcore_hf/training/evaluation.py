"""Evaluation of a trained model on the test split of a dataset, without training.

Owns how the folder of a model leads to its recipe, and the report. The scoring itself is metrics.py.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from diffcore_hf.training import backbones, framing, loop, trials
from diffcore_hf.training.data import load_data
from diffcore_hf.training.recipe import Mix, TrainRecipe


def recipe_of(folder: str) -> Path | None:
    """recipe.yaml of the training that a model's folder belongs to; None where it lies somewhere else."""
    return next((up / "recipe.yaml" for up in Path(folder).resolve().parents if (up / "recipe.yaml").is_file()), None)


def evaluate(folder: str, recipe: TrainRecipe) -> str:
    """Score a model on the test split of `data`, at its own size and normalisation.

    Returns:
        A line of figures, and the worst five classes.

    Raises:
        ValueError: no model there, or one of another number of classes.
    """
    data = load_data(recipe.data, Mix(mode="off"))
    model = backbones.load(folder, len(data.classes))
    picture = model.pretrained_cfg
    transform = dataclasses.replace(recipe.transform, size=picture["input_size"][-1])
    accelerator = trials.make_accelerator(dataclasses.replace(recipe, trackers=()), Path(folder))
    scores = loop.score_split(
        model.to(accelerator.device), data.test, data, recipe, framing.protocol_of(transform),
        (tuple(picture["mean"]), tuple(picture["std"])), accelerator,
    )  # fmt: skip
    worst = sorted((share, data.classes[k]) for k, share in enumerate(scores.by_class) if share is not None)[:5]
    named = ", ".join(f"{name} {100 * share:.0f}" for share, name in worst)
    return (
        f"top-1 {100 * scores.top1:.2f}, top-5 {100 * scores.top5:.2f} on split {data.test.name} ({scores.count:,} "
        f"images); worst classes: {named}"
    )
