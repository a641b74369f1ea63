"""The content of result.json, which is written when a training is finished."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class ScoresRecord(TypedDict):
    """The fields of `metrics.Scores` as JSON values."""

    top1: float
    top5: float
    by_class: list[float | None]
    count: int
    unreadable: int
    by_group: NotRequired[dict[str, float] | None]


class TrainingResult(TypedDict):
    """One finished training."""

    digest: str
    """Digest of all settings that determine the result."""
    seed: int
    steps: int
    epochs: float
    samples_per_epoch: int
    samples_seen: int
    parameters: int
    split: str
    """Name of the scored split."""
    last: ScoresRecord
    """Scores of the last model."""
    best: NotRequired[ScoresRecord]
    """Scores of the model that the validation split selected; absent if there is no validation split."""
    best_step: NotRequired[int]
    validation_top1: NotRequired[float]


def counted_scores(result: TrainingResult) -> ScoresRecord:
    """Return the scores that a comparison uses. They are from the best model if there is one, else from the last
    model."""
    return result.get("best") or result["last"]
