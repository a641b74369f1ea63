"""Explanations: Grad-CAM of the models of finished trainings, for the same test images.

Owns the choice of the images by a seed, the order of the passes, and the record of maps and figures. The maps are
computed in gradcam.py. publishing/pictures makes a picture of the record.

Every map is for the class of the image's label. So the maps of two networks for one image answer the same question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from diffcore_hf.config.train import MixConfig, TrainRecipe
from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.runtime import pick_device
from diffcore_hf.training.comparison.finished import FinishedTrainings
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.loader import ScoredRows
from diffcore_hf.training.data.training_data import TrainingData, load_data
from diffcore_hf.training.engine.evaluation import check_classes
from diffcore_hf.training.networks.trained_model import load_model
from diffcore_hf.training.saliency.agreement import agreement
from diffcore_hf.training.saliency.figures import MEANS, ImageFigures, summarise
from diffcore_hf.training.saliency.gradcam import layer_gradients, weighted_map
from diffcore_hf.training.saliency.map_layers import MapLayer, find_layer
from diffcore_hf.training.saliency.masked_rows import MaskedRows, check_masks

BATCH = 64
"""Number of images in one pass."""


@dataclass(frozen=True)
class Panel:
    """One image, and its map by the first model of an arm."""

    pixels: np.ndarray
    """(S, S, 3) uint8: the image in the frame of the network."""
    map: np.ndarray
    """(S, S) float32, not normalised."""
    mask: np.ndarray | None
    """(S, S) bool; None if the image has no mask."""
    predicted: int
    label: int
    confidence: float
    """Probability of the predicted class."""
    energy: float | None
    """Share of the map inside the mask; None if there is no mask."""


@dataclass(frozen=True)
class Explanation:
    """Maps and figures of finished trainings."""

    classes: tuple[str, ...]
    row_ids: tuple[str, ...]
    """Ids of the chosen images, which the picture shows."""
    panels: Mapping[str, tuple[Panel, ...]]
    """Panels of each arm, one for each chosen image, by the model of the first seed."""
    layers: Mapping[str, str]
    """Name of the layer of each arm."""
    split: str
    images: int
    """Number of the test images."""
    figures: Mapping[str, list[dict[str, Any]]] | None
    """Result of `figures.summarise`; None if no column of masks is named."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of the images without a figure, by reason."""


@dataclass
class ModelResult:
    """Everything that one model computed, by test row."""

    panels: dict[int, Panel]
    """Panels of the chosen images."""
    figures: dict[int, tuple[float, ...]]
    """Whether the image is classified correctly, then the values of `Agreement`."""
    reasons: dict[int, str]


def explain(
    trainings: FinishedTrainings,
    *,
    mask: str | None = None,
    seed: int = 0,
    count: int = 6,
    layer: str | None = None,
    progress: bool = True,
) -> Explanation:
    """Compute maps of test images that a seed chooses; with masks, also the figures of all test images.

    Args:
        trainings: arms and seeds with their models.
        mask: name of the column of masks; None: there are no figures.
        seed: seed that chooses the images.
        count: number of images.
        layer: name of a module of the networks; None: found for each network.
        progress: show a progress bar.

    Raises:
        UserError: the data cannot be loaded, a model or a mask is not usable, or the data has other classes.
    """
    first = next(iter(trainings.recipes.values()))
    data = load_data(first.data, MixConfig(mode="off"), others=(mask,) if mask else ())
    if mask is not None:
        check_masks(data.test, mask, first.data.path)
    drawn = chosen_rows(len(data.test), seed, count)
    needed = list(range(len(data.test))) if mask else drawn
    results: dict[str, list[ModelResult]] = {}
    layers: dict[str, str] = {}
    # Without masks there are no figures, and the maps are from the models of the first seed.
    seeds = trainings.seeds if mask else trainings.seeds[:1]
    total = len(trainings.arms) * len(seeds) * len(needed)
    with tqdm(total=total, desc="maps", unit="image", disable=not progress, mininterval=1) as bar:
        for arm, recipe in trainings.recipes.items():
            results[arm] = []
            for model_seed in seeds:
                folder = trainings.model_folder(arm, model_seed)
                model = load_model(folder, len(data.classes))
                pretrained_cfg: Any = model.pretrained_cfg
                check_classes(str(folder), pretrained_cfg.get("label_names"), data.classes)
                try:
                    found, result = explain_model(
                        model, recipe, data, needed, drawn=drawn, mask=mask, layer=layer, bar=bar
                    )
                except UserError as error:
                    raise UserError(f"{folder}: {error}") from error
                layers[arm] = found.name
                results[arm].append(result)
    figures, reasons = _figures(results) if mask else (None, {})
    return Explanation(
        classes=data.classes,
        row_ids=tuple(data.test.row_ids[row] for row in drawn),
        panels={arm: tuple(runs[0].panels[row] for row in drawn) for arm, runs in results.items()},
        layers=layers,
        split=data.test.name,
        images=len(data.test),
        figures=figures,
        left_out=reasons,
    )


def chosen_rows(total: int, seed: int, count: int) -> list[int]:
    """Return the indices of the chosen images. A larger count adds images and keeps the others."""
    return seeding.generator("explain", seed).permutation(total)[:count].tolist()


def explain_model(
    model: nn.Module,
    recipe: TrainRecipe,
    data: TrainingData,
    rows: list[int],
    *,
    drawn: Collection[int] = (),
    mask: str | None = None,
    layer: str | None = None,
    bar: Any = None,
) -> tuple[MapLayer, ModelResult]:
    """Compute the maps of one model.

    Args:
        model: result of `load_model`.
        recipe: recipe of the training, for the protocol and the device.
        data: data with the test split.
        rows: indices of the test rows.
        drawn: indices of the rows whose panels are kept.
        mask: name of the column of masks; None: there are no figures.
        layer: name of a module; None: it is found.
        bar: progress bar that is moved by the number of images.

    Raises:
        UserError: no layer returns a map, or the outputs of the model are not finite.
    """
    config: Any = model.pretrained_cfg
    protocol = framing.protocol_of(replace(recipe.transform, size=config["input_size"][-1]))
    normalisation = tuple(config["mean"]), tuple(config["std"])
    device = pick_device(recipe.device)
    model = model.to(device)
    found = find_layer(model, (3, protocol.size, protocol.size), layer)
    image = data.columns.image
    scored = (
        MaskedRows(data.test, image, mask, protocol, data.files)
        if mask
        else ScoredRows(data.test, image, protocol, data.files)
    )
    result = ModelResult({}, {}, {})
    for start in range(0, len(rows), BATCH):
        indices = rows[start : start + BATCH]
        batch = scored.__getitems__(indices)
        images = framing.normalised(batch["images"].to(device), normalisation)
        labels = batch["labels"].clamp_min(0).to(device)
        features, gradients, logits = layer_gradients(model, images, labels, found)
        maps = weighted_map(features, gradients)[:, None]
        if not (logits.isfinite().all() and maps.isfinite().all()):
            raise UserError(
                "the outputs of the model are NaN or infinite, so it has no maps. Delete the folder of this seed, and "
                "run the training again with a smaller --optimizer.lr"
            )
        maps = functional.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0].cpu()
        _add_batch(result, indices, drawn, batch, maps, logits.float().softmax(1).cpu())
        if bar is not None:
            bar.update(len(indices))
    return found, result


def _add_batch(
    result: ModelResult,
    rows: list[int],
    drawn: Collection[int],
    batch: Mapping[str, Any],
    maps: torch.Tensor,
    shares: torch.Tensor,
) -> None:
    """Add the panels, figures and reasons of a batch to the result of its model."""
    labels, masks = batch["labels"], batch.get("masks")
    confidence, predicted = shares.max(1)
    reasons = batch.get("reasons", [""] * len(rows))
    figures = None if masks is None else torch.stack(agreement(maps, masks), 1)
    for place, row in enumerate(rows):
        unreadable = int(labels[place]) < 0
        reason = "the image cannot be read" if unreadable else reasons[place]
        has_mask = masks is not None and not reason
        if reason:
            result.reasons[row] = reason
        if figures is not None and has_mask:
            right = float(predicted[place] == labels[place])
            result.figures[row] = (right, *figures[place].tolist())
        if row not in drawn:
            continue
        result.panels[row] = Panel(
            pixels=batch["images"][place].permute(1, 2, 0).numpy(),
            map=maps[place].numpy(),
            mask=masks[place].numpy() if masks is not None and has_mask else None,
            predicted=int(predicted[place]),
            label=int(labels[place]),
            confidence=float(confidence[place]),
            energy=float(figures[place, 0]) if figures is not None and has_mask else None,
        )


def _figures(results: Mapping[str, list[ModelResult]]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """Return the summaries over the rows that have a figure in every model, and the reasons of the other rows."""
    every = [run for runs in results.values() for run in runs]
    rows = sorted(set.intersection(*(set(run.figures) for run in every)))
    reasons = {row: reason for run in reversed(every) for row, reason in run.reasons.items()}
    if not rows:
        commonest, _ = Counter(reasons.values()).most_common(1)[0]
        raise UserError(f"no image of the test split has a usable mask: {commonest}. Name another column with --mask")
    by_arm = {arm: [image_figures(run, rows) for run in runs] for arm, runs in results.items()}
    return summarise(by_arm), dict(Counter(reasons.values()))


def image_figures(run: ModelResult, rows: list[int]) -> ImageFigures:
    """Return the figures of a model for rows that have a usable mask, in the order of the rows."""
    columns = np.array([run.figures[row] for row in rows], np.float64).T
    return ImageFigures(columns[0] > 0, **dict(zip((*MEANS, "empty"), columns[1:], strict=True)))
