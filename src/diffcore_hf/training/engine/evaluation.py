"""Evaluation: the scores of a model on a split, and of a trained one from its folder without training.

Owns how a split is read for scoring, and how the folder of a model leads to its recipe. Ranks and accuracies are
metrics.py.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from diffcore_hf.config.recipe_files import read_recipe_file
from diffcore_hf.config.train import MixConfig, TrainRecipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing, loader
from diffcore_hf.training.data.split import Split
from diffcore_hf.training.data.training_data import TrainingData, load_data
from diffcore_hf.training.engine.devices import make_accelerator, workers
from diffcore_hf.training.engine.metrics import Scores, evaluate_model
from diffcore_hf.training.networks import backbones
from diffcore_hf.training.networks.trained_model import load_model

if TYPE_CHECKING:
    from accelerate import Accelerator


def score_split(
    model: nn.Module,
    split: Split,
    data: TrainingData,
    recipe: TrainRecipe,
    protocol: framing.Protocol,
    normalisation: tuple,
    accelerator: Accelerator,
) -> Scores:
    """The scores of a model on a split, the same on every process and for any number of them."""
    rows = loader.ScoredRows(split, data.columns.image, protocol)
    sampler = loader.scored_batches(
        len(split), max(1, 4 * recipe.batch_size // accelerator.num_processes), accelerator.process_index,
        accelerator.num_processes,
    )  # fmt: skip
    # Starting processes costs more than decoding a few hundred images.
    count = workers(recipe) if len(split) > 1000 else 0
    batches = loader.batches(rows, sampler, workers=count, pin=accelerator.device.type == "cuda")
    return evaluate_model(
        model,
        batches,
        accelerator,
        normalisation,
        len(data.classes),
        groups=split.groups,
        channels_last=recipe.model.channels_last and backbones.takes_channels_last(model, accelerator.device),
    )


def recipe_of(folder: str) -> Path | None:
    """recipe.yaml of the training that a model's folder belongs to; None where it lies somewhere else."""
    above = [up / "recipe.yaml" for up in Path(folder).resolve().parents]
    return next((path for path in above if path.is_file() and "data" in read_recipe_file(path)), None)


def evaluate(folder: str, recipe: TrainRecipe) -> str:
    """Score a model on the test split of `data`, at its own size and normalisation.

    Returns:
        A line of figures, the worst five classes, and the groups of `data.group`.

    Raises:
        UserError: no model there, or one of another number of classes.
    """
    data = load_data(recipe.data, MixConfig(mode="off"))
    model = load_model(folder, len(data.classes))
    picture = model.pretrained_cfg
    known = picture.get("label_names")
    if known and tuple(known) != data.classes:
        one = next((a, b) for a, b in zip(known, data.classes, strict=True) if a != b)
        raise UserError(
            f"{folder}: its classes are not those of the dataset, or in another order ({one[0]!r} stands where the "
            f"dataset has {one[1]!r}). Give the dataset that it was trained on"
        )
    transform = dataclasses.replace(recipe.transform, size=picture["input_size"][-1])
    accelerator = make_accelerator(dataclasses.replace(recipe, trackers=()), Path(folder))
    scores = score_split(
        model.to(accelerator.device), data.test, data, recipe, framing.protocol_of(transform),
        (tuple(picture["mean"]), tuple(picture["std"])), accelerator,
    )  # fmt: skip
    worst = sorted((share, data.classes[k]) for k, share in enumerate(scores.by_class) if share is not None)[:5]
    named = ", ".join(f"{name} {100 * share:.0f}" for share, name in worst)
    groups = ", ".join(f"{name} {100 * share:.1f}" for name, share in (scores.by_group or {}).items())
    return (
        f"top-1 {100 * scores.top1:.2f}, top-5 {100 * scores.top5:.2f} on split {data.test.name} ({scores.count:,} "
        f"images); worst classes: {named}" + (f"; by {recipe.data.group}: {groups}" if groups else "")
    )
