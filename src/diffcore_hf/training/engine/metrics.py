"""Scores: top-1, top-5 and accuracy by class, exact on any number of processes.

Owns the metric and the evaluation of a model on a split. `evaluate` is imported late: that alone takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing

if TYPE_CHECKING:
    from accelerate import Accelerator

K = 5


@dataclass(frozen=True)
class Scores:
    """What a model reaches on a split. Accuracies in [0, 1]."""

    top1: float
    top5: float
    """Equals 1 where there are five classes or fewer."""
    by_class: list[float | None]
    """top-1 of each class; None where the split has no image of it."""
    count: int
    """Images that were scored."""
    unreadable: int = 0
    """Images that could not be read; they are in no score."""
    by_group: dict[str, float] | None = None
    """top-1 of each group of images (`data.group`), by name; None where they are not told apart."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@cache
def top_k_metric() -> type:
    """`evaluate.Metric` over ranked predictions; works offline."""
    import datasets
    import evaluate

    class TopK(evaluate.Metric):
        """top1, top5 and accuracy by class of (N, up to 5) ranked classes against (N,) labels."""

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
            per_class = [hits[labels == label, 0] for label in range(classes)]
            return {
                "top1": float(hits[:, 0].mean()),
                "top5": float(hits[:, :K].any(1).mean()),
                "by_class": [float(one.mean()) if len(one) else None for one in per_class],
            }

    return TopK


def score(ranked: np.ndarray, labels: np.ndarray, classes: int, groups: Sequence[str] | None = None) -> Scores:
    """The scores of (N, k) ranked classes against (N,) labels; a negative label marks an unreadable image.

    Args:
        ranked: best class first.
        labels: of the images.
        classes: how many there are.
        groups: (N,) names of the images' groups, scored one by one as well.

    Raises:
        UserError: no image could be read.
    """
    good = labels >= 0
    if not good.any():
        raise UserError("none of the images of the scored split can be read; look at the files of the dataset")
    metric = top_k_metric()(keep_in_memory=True)
    found = metric.compute(predictions=ranked[good].tolist(), references=labels[good].tolist(), classes=classes)
    by_group = None
    if groups is not None:
        hits, named = ranked[good, 0] == labels[good], np.array(groups)[good]
        by_group = {name: float(hits[named == name].mean()) for name in sorted(set(named.tolist()))}
    return Scores(found["top1"], found["top5"], found["by_class"], int(good.sum()), int((~good).sum()), by_group)


@torch.inference_mode()
def evaluate_model(
    model: torch.nn.Module,
    loader: Iterable[dict[str, torch.Tensor]],
    accelerator: Accelerator,
    normalisation: tuple,
    classes: int,
    *,
    groups: Sequence[str] | None = None,
    channels_last: bool = False,
) -> Scores:
    """Score a model on the batches of a split (loader.scored_batches), the same on every process.

    Args:
        model: in any mode; left in evaluation mode.
        loader: this process's batches; repeated places are counted once.
        accelerator: for devices and gathering.
        normalisation: mean and standard deviation.
        classes: how many there are.
        groups: names of the images' groups, in the order of the split.
        channels_last: memory format of the images.
    """
    model.eval()
    ranked, labels, places = [], [], []
    for batch in loader:
        images = framing.normalised(batch["images"].to(accelerator.device, non_blocking=True), normalisation)
        images = images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        with accelerator.autocast():
            logits = model(images)
        ranked.append(logits.float().topk(min(K, classes), dim=1).indices)
        labels.append(batch["labels"].to(accelerator.device))
        places.append(batch["places"].to(accelerator.device))
    whole = [accelerator.gather(torch.cat(parts)).cpu().numpy() for parts in (ranked, labels, places)]
    _, first = np.unique(whole[2], return_index=True)
    return score(whole[0][first], whole[1][first], classes, groups)
