"""Comparing: did it help? Means, paired intervals, and the table that says so.

Owns the statistics over finished trainings and their presentation as text and JSON. Does not train (trials.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from diffcore_hf.core.errors import UserError

# Quantiles 0.975 of Student's t for 1 to 30 degrees of freedom; beyond that the normal one is near enough.
_T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_WORST = 5


@dataclass(frozen=True)
class Difference:
    """Of an arm to the first one, over the seeds, in [-1, 1]."""

    mean: float
    half: float | None
    """Half of the paired 95 % interval; None with one seed."""

    @property
    def seen(self) -> bool | None:
        """Whether the interval leaves out zero; None with one seed."""
        return None if self.half is None else abs(self.mean) > self.half


def paired_difference(values: Sequence[float], base: Sequence[float]) -> Difference:
    """Mean of the differences seed by seed, with Student's 95 % interval.

    Raises:
        UserError: not as many values as in the base, or none.
    """
    if len(values) != len(base) or not values:
        raise UserError(f"{len(values)} values cannot be paired with {len(base)}")
    gaps = [a - b for a, b in zip(values, base, strict=True)]
    if len(gaps) == 1:
        return Difference(gaps[0], None)
    quantile = _T975[len(gaps) - 2] if len(gaps) - 2 < len(_T975) else 1.96
    return Difference(mean(gaps), quantile * stdev(gaps) / math.sqrt(len(gaps)))


def summarise(results: Mapping[str, Sequence[Mapping[str, Any]]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """One record an arm, from the results of its seeds (result.json), in the same order of seeds for every arm.

    The score of a training is the best model's, chosen on validation; where there was none, the last one's.
    """
    arms = []
    base: list[float] | None = None
    for name, runs in results.items():
        top1 = [scored(run)["top1"] for run in runs]
        base = top1 if base is None else base
        gap = paired_difference(top1, base)
        arms.append(
            {
                "name": name,
                "top1": mean(top1),
                "sd": stdev(top1) if len(top1) > 1 else None,
                "by_seed": top1,
                "top5": mean(scored(run)["top5"] for run in runs),
                "last_top1": mean(run["last"]["top1"] for run in runs),
                "difference": gap.mean,
                "half_interval": gap.half,
                "seen": gap.seen,
                "worst_classes": _worst(runs, classes),
                "by_group": _by_group(runs),
                "steps": runs[0]["steps"],
                "epochs": runs[0]["epochs"],
                "samples_seen": runs[0]["samples_seen"],
            }
        )
    return arms


def scored(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The scores that count: of the model that validation chose, else of the last one."""
    return run.get("best") or run["last"]


def _worst(runs: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[tuple[str, float]]:
    """The classes with the lowest mean accuracy, worst first."""
    means = []
    for place, name in enumerate(classes):
        found = [scored(run)["by_class"][place] for run in runs]
        if all(value is not None for value in found):
            means.append((name, mean(found)))
    return sorted(means, key=lambda pair: pair[1])[:_WORST]


def _by_group(runs: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Mean accuracy of each group of images; None where they were not told apart."""
    found = [scored(run).get("by_group") for run in runs]
    return {name: mean(one[name] for one in found) for name in found[0]} if all(found) else None


def difference_words(arm: Mapping[str, Any]) -> str:
    """The difference of an arm for people, in points of top-1."""
    points = f"{100 * arm['difference']:+.1f}"
    if arm["half_interval"] is None:
        return f"{points} (one seed: no interval)"
    interval = f"{points} ± {100 * arm['half_interval']:.1f}"
    return interval if arm["seen"] else f"no difference seen ({interval})"


def table(comparison: Mapping[str, Any]) -> str:
    """The table of a comparison, as Markdown that reads well in a terminal too."""
    arms = comparison["arms"]
    head = ["arm", "top-1", f"to {arms[0]['name']}, 95 %", "top-5", "last", "epochs", "steps", "worst classes"]
    rows = [head]
    for arm in arms:
        sd = "" if arm["sd"] is None else f" ± {100 * arm['sd']:.1f}"
        rows.append(
            [
                arm["name"],
                f"{100 * arm['top1']:.1f}{sd}",
                "" if arm is arms[0] else difference_words(arm),
                f"{100 * arm['top5']:.1f}",
                f"{100 * arm['last_top1']:.1f}",
                f"{arm['epochs']:g}",
                f"{arm['steps']:,}",
                ", ".join(f"{_cell(name)} {100 * share:.0f}" for name, share in arm["worst_classes"]),
            ]
        )
    if len(arms) == 1:  # nothing to differ from
        rows = [[*row[:2], *row[3:]] for row in rows]
    if groups := arms[0].get("by_group"):
        shares = [[f"{100 * arm['by_group'][name]:.1f}" for name in groups] for arm in arms]
        rows = [
            [*row[:2], *more, *row[2:]] for row, more in zip(rows, [list(map(_cell, groups)), *shares], strict=True)
        ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    lines = [
        "| " + " | ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|---|")
    return "\n".join(lines)


def legend(comparison: Mapping[str, Any]) -> str:
    """What stands under the table: how it was measured."""
    seeds = comparison["seeds"]
    chosen = (
        "the model that validation chose, scored once"
        if comparison["validation"]
        else "the last model (no validation split to choose another by)"
    )
    spread = f"mean ± standard deviation of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    paired = "; differences are paired by seed" if len(comparison["arms"]) > 1 else ""
    notes = "".join(f" {note}." for note in comparison["notes"])
    scored = f"split {comparison['split']} ({comparison['images']:,} images)"
    work = f"{comparison['arms'][0]['steps']:,} steps of {comparison['batch_size']} samples"
    return f"Top-1 in percent on {scored}: {chosen}; {spread}{paired}. Every arm: {comparison['model']}, {work}.{notes}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
