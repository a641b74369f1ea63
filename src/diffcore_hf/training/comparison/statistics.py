"""Statistics of a comparison: means, paired intervals, and the table of the result.

Owns the statistics over finished trainings and their presentation as text and JSON. Does not train (trials.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, TypedDict

from diffcore_hf.core.manifest import ComparedArm
from diffcore_hf.training.engine.result import TrainingResult, counted_scores

# 0.975 quantiles of Student's t for 1 to 30 degrees of freedom. For more, the normal quantile is close enough.
_T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL975 = 1.96
_WORST = 5


class ArmSummary(ComparedArm):
    """One arm in compare.json; accuracies are means over the seeds."""

    sd: float | None
    """Standard deviation of top1 over the seeds; None if there is only one seed."""
    by_seed: list[float]
    top5: float
    last_top1: float
    """Top-1 of the last models, not of those that the validation split selected."""
    worst_classes: list[tuple[str, float]]
    by_group: dict[str, float] | None
    epochs: float
    samples_seen: int


class TrainingComparison(TypedDict):
    """The content of compare.json."""

    format: int
    data: dict[str, Any]
    model: str
    parameters: int
    batch_size: int
    transform: str
    split: str
    images: int
    validation: bool
    """Whether a validation split selected the models."""
    seeds: list[int]
    arms: list[ArmSummary]
    notes: list[str]
    versions: dict[str, str]


@dataclass(frozen=True)
class Difference:
    """Difference in top-1 of an arm to the first arm, paired by seed, in [-1, 1]."""

    mean: float
    half: float | None
    """Half width of the paired 95 % interval; None if there is only one seed."""

    @property
    def seen(self) -> bool | None:
        """Whether the interval excludes zero; None if there is only one seed."""
        return None if self.half is None else abs(self.mean) > self.half


def paired_difference(values: Sequence[float], base: Sequence[float]) -> Difference:
    """Return the mean of the differences for each seed, with Student's 95 % interval.

    Args:
        values: top-1 of an arm for each seed.
        base: top-1 of the first arm for the same seeds.

    Raises:
        ValueError: `values` and `base` have different lengths, or are empty.
    """
    if len(values) != len(base) or not values:
        raise ValueError(f"{len(values)} values cannot be paired with {len(base)}")
    differences = [value - base_value for value, base_value in zip(values, base, strict=True)]
    if len(differences) == 1:
        return Difference(differences[0], None)
    degrees = len(differences) - 1
    quantile = _T975[degrees - 1] if degrees <= len(_T975) else _NORMAL975
    return Difference(mean(differences), quantile * stdev(differences) / math.sqrt(len(differences)))


def summarise(results: Mapping[str, Sequence[TrainingResult]], classes: Sequence[str]) -> list[ArmSummary]:
    """Return the summary of each arm over its seeds. Differences are to the first arm.

    The score of a training is the score of the model that the validation split selected. If there is no such split, it
    is the score of the last model.

    Args:
        results: results by arm, one for each seed, in the same order of seeds for every arm.
        classes: names of the classes.
    """
    top1_by_arm = {name: [counted_scores(run)["top1"] for run in runs] for name, runs in results.items()}
    base = next(iter(top1_by_arm.values()))
    return [_summary(name, runs, top1_by_arm[name], base, classes) for name, runs in results.items()]


def _summary(
    name: str, runs: Sequence[TrainingResult], top1: list[float], base: Sequence[float], classes: Sequence[str]
) -> ArmSummary:
    difference = paired_difference(top1, base)
    return {
        "name": name,
        "top1": mean(top1),
        "sd": stdev(top1) if len(top1) > 1 else None,
        "by_seed": top1,
        "top5": mean(counted_scores(run)["top5"] for run in runs),
        "last_top1": mean(run["last"]["top1"] for run in runs),
        "difference": difference.mean,
        "half_interval": difference.half,
        "seen": difference.seen,
        "worst_classes": _worst(runs, classes),
        "by_group": _by_group(runs),
        "steps": runs[0]["steps"],
        "epochs": runs[0]["epochs"],
        "samples_seen": runs[0]["samples_seen"],
    }


def _worst(runs: Sequence[TrainingResult], classes: Sequence[str]) -> list[tuple[str, float]]:
    """Return the classes with the lowest mean accuracy, worst first."""
    means = []
    for index, name in enumerate(classes):
        by_seed = [counted_scores(run)["by_class"][index] for run in runs]
        scored = [accuracy for accuracy in by_seed if accuracy is not None]
        if len(scored) == len(runs):
            means.append((name, mean(scored)))
    return sorted(means, key=lambda pair: pair[1])[:_WORST]


def _by_group(runs: Sequence[TrainingResult]) -> dict[str, float] | None:
    """Return the mean accuracy of each group of images; None if there are no groups."""
    by_seed = [groups for run in runs if (groups := counted_scores(run).get("by_group"))]
    if len(by_seed) < len(runs):
        return None
    return {name: mean(groups[name] for groups in by_seed) for name in by_seed[0]}


def difference_words(arm: ComparedArm) -> str:
    """Return the text for the difference of an arm to the first arm, in percentage points of top-1."""
    points = f"{100 * arm['difference']:+.1f}"
    if arm["half_interval"] is None:
        return f"{points} (one seed: no interval)"
    interval = f"{points} ± {100 * arm['half_interval']:.1f}"
    return interval if arm["seen"] else f"no difference seen ({interval})"


def table(comparison: TrainingComparison) -> str:
    """Return a comparison as a Markdown table with columns that are aligned in a terminal."""
    first, *others = comparison["arms"]
    groups = list(first["by_group"] or {})
    header = ["arm", "top-1", *map(_cell, groups)]
    if others:
        header.append(f"to {first['name']}, 95 %")
    header += ["top-5", "last", "epochs", "steps", "worst classes"]
    rows = [header, _row(first, groups, [""] if others else [])]
    rows += [_row(arm, groups, [difference_words(arm)]) for arm in others]
    # The last column is not padded.
    widths = [max(len(row[column]) for row in rows) for column in range(len(header) - 1)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|---|")
    return "\n".join(lines)


def _row(arm: ArmSummary, groups: Sequence[str], difference: list[str]) -> list[str]:
    deviation = "" if arm["sd"] is None else f" ± {100 * arm['sd']:.1f}"
    by_group = arm["by_group"] or {}
    return [
        arm["name"],
        f"{100 * arm['top1']:.1f}{deviation}",
        *(f"{100 * by_group[name]:.1f}" for name in groups),
        *difference,
        f"{100 * arm['top5']:.1f}",
        f"{100 * arm['last_top1']:.1f}",
        f"{arm['epochs']:g}",
        f"{arm['steps']:,}",
        ", ".join(f"{_cell(name)} {100 * share:.0f}" for name, share in arm["worst_classes"]),
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
    return "| " + " | ".join([*padded, row[-1]]) + " |"


def legend(comparison: TrainingComparison) -> str:
    """Return the text below the table: scored split and models, number of seeds, and length of the trainings."""
    seeds = comparison["seeds"]
    chosen = (
        "the model that the validation split selected, scored once"
        if comparison["validation"]
        else "the last model (there is no validation split to select another)"
    )
    spread = f"mean ± standard deviation of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    paired = "; differences are paired by seed" if len(comparison["arms"]) > 1 else ""
    notes = "".join(f" {note}." for note in comparison["notes"])
    split = f"split {comparison['split']} ({comparison['images']:,} images)"
    work = f"{comparison['arms'][0]['steps']:,} steps of {comparison['batch_size']} samples"
    return f"Top-1 in percent on {split}: {chosen}; {spread}{paired}. Every arm: {comparison['model']}, {work}.{notes}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
