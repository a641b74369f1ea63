"""Scores: top-1, top-5 and accuracy by class, exact for any number of processes.

Owns the metric, and the evaluation of a model on the batches of a split. The library `evaluate` is imported inside
functions, because the import takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.loader import Batch
from diffcore_hf.training.engine.result import ScoresRecord

if TYPE_CHECKING:
    from accelerate import Accelerator

K = 5
"""Number of highest-ranked classes that top-5 uses."""


@dataclass(frozen=True)
class Scores:
    """Accuracies of a model on a split, in [0, 1]."""

    top1: float
    top5: float
    """Always 1 if the data has five classes or fewer."""
    by_class: list[float | None]
    """Top-1 of each class; None for a class without an image in the split."""
    count: int
    """Number of scored images."""
    unreadable: int = 0
    """Number of unreadable images; they are not scored."""
    by_group: dict[str, float] | None = None
    """Top-1 of each group of images (`data.group`) by name; None if there are no groups."""

    def plain(self) -> ScoresRecord:
        """Return the scores as a dictionary for JSON."""
        return cast(ScoresRecord, asdict(self))


@cache
def top_k_metric() -> type:
    """Return the class of an `evaluate.Metric` over ranked predictions; it works offline."""
    import datasets
    import evaluate

    class TopK(evaluate.Metric):
        """Computes top1, top5 and accuracy by class from (N, up to 5) ranked classes and (N,) labels."""

        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description="Top-1 and top-5 accuracy, and top-1 by class.",
                citation="",
                inputs_description="predictions: ranked classes, best first; references: labels",
                features=datasets.Features(
                    {
                        "predictions": datasets.Sequence(datasets.Value("int64")),
                        "references": datasets.Value("int64"),
                    }
                ),
            )

        def _compute(self, predictions: Any, references: Any, classes: int) -> dict[str, Any]:
            ranked, labels = np.array(list(predictions)), np.array(list(references))
            hits = ranked == labels[:, None]
            hits_by_class = [hits[labels == label, 0] for label in range(classes)]
            return {
                "top1": float(hits[:, 0].mean()),
                "top5": float(hits[:, :K].any(1).mean()),
                "by_class": [float(first.mean()) if len(first) else None for first in hits_by_class],
            }

    return TopK


def score(ranked: np.ndarray, labels: np.ndarray, classes: int, groups: Sequence[str] | None = None) -> Scores:
    """Compute the scores of ranked classes.

    Args:
        ranked: (N, k) classes of each image, best first.
        labels: (N,) class of each image; a negative label marks an unreadable image.
        classes: number of classes.
        groups: (N,) name of the group of each image; each group is also scored separately.

    Raises:
        UserError: no image is readable.
    """
    readable = labels >= 0
    if not readable.any():
        raise UserError("none of the images of the scored split can be read. Check the image files of the dataset")
    metric = top_k_metric()(keep_in_memory=True)
    predictions, references = ranked[readable].tolist(), labels[readable].tolist()
    values = metric.compute(predictions=predictions, references=references, classes=classes)
    by_group = None
    if groups is not None:
        hits, names = ranked[readable, 0] == labels[readable], np.array(groups)[readable]
        by_group = {name: float(hits[names == name].mean()) for name in sorted(set(names.tolist()))}
    count = int(readable.sum())
    return Scores(values["top1"], values["top5"], values["by_class"], count, len(labels) - count, by_group)


@torch.inference_mode()
def evaluate_model(
    model: torch.nn.Module,
    batches: Iterable[Batch],
    accelerator: Accelerator,
    normalisation: framing.Normalisation,
    classes: int,
    *,
    groups: Sequence[str] | None = None,
    channels_last: bool = False,
) -> Scores:
    """Score a model on the batches of a split (loader.scored_batches); the result is the same on every process.

    Args:
        model: network in any mode; it is in evaluation mode afterwards.
        batches: batches of this process; an image that occurs twice is scored once.
        accelerator: device, precision, and gathering across processes.
        normalisation: mean and standard deviation of the images.
        classes: number of classes.
        groups: name of the group of each image, in the order of the split.
        channels_last: memory format of the images.
    """
    model.eval()
    ranked, labels, rows = [], [], []
    for batch in batches:
        images = framing.normalised(batch["images"].to(accelerator.device, non_blocking=True), normalisation)
        images = images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        with accelerator.autocast():
            logits = model(images)
        ranked.append(logits.float().topk(min(K, classes), dim=1).indices)
        labels.append(batch["labels"].to(accelerator.device))
        rows.append(batch["rows"].to(accelerator.device))
    all_ranked, all_labels, all_rows = (
        accelerator.gather(torch.cat(parts)).cpu().numpy() for parts in (ranked, labels, rows)
    )
    _, first = np.unique(all_rows, return_index=True)
    return score(all_ranked[first], all_labels[first], classes, groups)
