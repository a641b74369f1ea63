"""Evaluation: scores a model on a split, and loads and scores a trained model from its folder.

Owns the reading of a split for scoring, and the search for the recipe of a model's folder. Accuracies are computed in
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
        model: network on the device of the accelerator.
        split: rows to score.
        data: data of the training, for columns and classes.
        recipe: recipe with batch size, loader processes and memory format.
        protocol: resizing and cropping of images.
        normalisation: mean and standard deviation of the images.
        accelerator: device, precision and processes.

    Returns:
        The scores. They are the same on every process and for any number of processes.
    """
    rows = loader.ScoredRows(split, data.columns.image, protocol, data.files)
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
    """Return recipe.yaml of the training that a model's folder belongs to; None for any other folder."""
    candidates = [parent / "recipe.yaml" for parent in Path(folder).resolve().parents]
    return next((path for path in candidates if path.is_file() and "data" in read_recipe_file(path)), None)


def evaluate(folder: str, recipe: TrainRecipe) -> str:
    """Score a trained model on the test split of `data`, at the model's own size and normalisation.

    Args:
        folder: folder of the model.
        recipe: recipe that names the data.

    Returns:
        One line: top-1 and top-5, the worst five classes, and the groups of `data.group`.

    Raises:
        UserError: the folder has no model, or the model has other classes than the data.
    """
    data = load_data(recipe.data, MixConfig(mode="off"))
    model = load_model(folder, len(data.classes))
    pretrained_cfg: Any = model.pretrained_cfg
    check_classes(folder, pretrained_cfg.get("label_names"), data.classes)
    protocol = framing.protocol_of(dataclasses.replace(recipe.transform, size=pretrained_cfg["input_size"][-1]))
    normalisation = tuple(pretrained_cfg["mean"]), tuple(pretrained_cfg["std"])
    accelerator = make_accelerator(dataclasses.replace(recipe, trackers=()), Path(folder))
    model = model.to(accelerator.device)
    scores = score_split(model, data.test, data, recipe, protocol, normalisation, accelerator)
    return _line_of(scores, data, recipe.data.group)


def check_classes(folder: str, model_classes: Sequence[str] | None, data_classes: Sequence[str]) -> None:
    """Check that model and data have the same classes in the same order.

    Raises:
        UserError: the classes differ; the message names the first difference.
    """
    if not model_classes or list(model_classes) == list(data_classes):
        return
    pairs = zip(model_classes, data_classes, strict=True)
    model_class, data_class = next(pair for pair in pairs if pair[0] != pair[1])
    raise UserError(
        f"{folder}: the classes of the model and of the dataset differ, or their order differs ({model_class!r} is at "
        f"the position of {data_class!r}). Give the dataset that the model was trained on"
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
