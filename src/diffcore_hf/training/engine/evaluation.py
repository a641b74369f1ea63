"""Evaluation: scores a model on a split, and a trained model from its folder without training.

Owns how a split is read for scoring, and how the recipe of a model's folder is found. Ranks and accuracies are
metrics.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    normalisation: framing.Normalisation,
    accelerator: Accelerator,
) -> Scores:
    """Score a model on a split.

    Args:
        model: on the accelerator's device.
        split: what is scored.
        data: columns and classes.
        recipe: batch size, loader processes and memory format.
        protocol: how images are resized and cropped.
        normalisation: mean and standard deviation.
        accelerator: device, precision and processes.

    Returns:
        The scores, the same on every process and for any number of them.
    """
    rows = loader.ScoredRows(split, data.columns.image, protocol)
    processes = accelerator.num_processes
    batch_size = max(1, 4 * recipe.batch_size // processes)
    sampler = loader.scored_batches(len(split), batch_size, accelerator.process_index, processes)
    # Starting loader processes takes longer than decoding a few hundred images.
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
    """Returns recipe.yaml of the training that a model's folder belongs to; None for any other folder."""
    candidates = [parent / "recipe.yaml" for parent in Path(folder).resolve().parents]
    return next((path for path in candidates if path.is_file() and "data" in read_recipe_file(path)), None)


def evaluate(folder: str, recipe: TrainRecipe) -> str:
    """Score a trained model on the test split of `data`, at the model's own size and normalisation.

    Args:
        folder: of the model.
        recipe: names the data.

    Returns:
        One line: top-1 and top-5, the worst five classes, and the groups of `data.group`.

    Raises:
        UserError: no model in the folder, or a model of other classes.
    """
    data = load_data(recipe.data, MixConfig(mode="off"))
    model = load_model(folder, len(data.classes))
    facts: Any = model.pretrained_cfg
    _check_classes(folder, facts.get("label_names"), data.classes)
    protocol = framing.protocol_of(dataclasses.replace(recipe.transform, size=facts["input_size"][-1]))
    normalisation = tuple(facts["mean"]), tuple(facts["std"])
    accelerator = make_accelerator(dataclasses.replace(recipe, trackers=()), Path(folder))
    model = model.to(accelerator.device)
    scores = score_split(model, data.test, data, recipe, protocol, normalisation, accelerator)
    return _line_of(scores, data, recipe.data.group)


def _check_classes(folder: str, model_classes: Sequence[str] | None, data_classes: Sequence[str]) -> None:
    if not model_classes or list(model_classes) == list(data_classes):
        return
    pairs = zip(model_classes, data_classes, strict=True)
    model_class, data_class = next(pair for pair in pairs if pair[0] != pair[1])
    raise UserError(
        f"{folder}: its classes are not those of the dataset, or in another order ({model_class!r} stands where the "
        f"dataset has {data_class!r}). Give the dataset that it was trained on"
    )


def _line_of(scores: Scores, data: TrainingData, group_column: str | None) -> str:
    scored = [(share, name) for share, name in zip(scores.by_class, data.classes, strict=True) if share is not None]
    worst = ", ".join(f"{name} {100 * share:.0f}" for share, name in sorted(scored)[:5])
    line = (
        f"top-1 {100 * scores.top1:.2f}, top-5 {100 * scores.top5:.2f} on split {data.test.name} ({scores.count:,} "
        f"images); worst classes: {worst}"
    )
    if not scores.by_group:
        return line
    groups = ", ".join(f"{name} {100 * share:.1f}" for name, share in scores.by_group.items())
    return f"{line}; by {group_column}: {groups}"
