"""Figures of saliency: means over test images, intervals over seeds, and differences to the first arm.

Owns the statistics and their text. The figures of one image are computed in agreement.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffcore_hf.training.comparison.statistics import Difference, paired_difference

MEANS = ("energy", "area", "hit", "chance")


@dataclass(frozen=True)
class ImageFigures:
    """Figures of one model for each test image that has a mask."""

    right: np.ndarray
    """(N,) bool: whether the model classifies the image correctly."""
    energy: np.ndarray
    area: np.ndarray
    hit: np.ndarray
    chance: np.ndarray
    empty: np.ndarray
    """(N,) float64 each; see agreement.py."""

    def means(self, chosen: np.ndarray) -> dict[str, float]:
        """Return the mean of each figure over the chosen images, and `lift`: mean energy divided by mean area."""
        means = {name: float(getattr(self, name)[chosen].mean()) for name in MEANS}
        return means | {"lift": means["energy"] / means["area"], "empty": float(self.empty[chosen].sum())}


def summarise(figures: Mapping[str, Sequence[ImageFigures]]) -> dict[str, list[dict[str, Any]]]:
    """Return the summary of each arm for all images, and for the images that all arms classify correctly.

    Args:
        figures: for each arm one entry per seed, in the same order of seeds and images.

    Returns:
        `all` and `right`: one mapping per arm with means over the seeds and half widths of 95 % intervals. `right` is
        empty if some seed has no image that all arms classify correctly.
    """
    seeds = len(next(iter(figures.values())))
    everywhere = [np.ones(len(runs.right), bool) for runs in next(iter(figures.values()))]
    right = [np.logical_and.reduce([runs[seed].right for runs in figures.values()]) for seed in range(seeds)]
    return {
        "all": _summaries(figures, everywhere),
        "right": _summaries(figures, right) if all(chosen.any() for chosen in right) else [],
    }


def _summaries(figures: Mapping[str, Sequence[ImageFigures]], chosen: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    by_arm = {
        arm: [run.means(images) for run, images in zip(runs, chosen, strict=True)] for arm, runs in figures.items()
    }
    first = next(iter(by_arm.values()))
    counts = [int(images.sum()) for images in chosen]
    return [_summary(arm, means, first, counts) for arm, means in by_arm.items()]


def _summary(
    arm: str, means: Sequence[Mapping[str, float]], first: Sequence[Mapping[str, float]], counts: Sequence[int]
) -> dict[str, Any]:
    summary: dict[str, Any] = {"arm": arm, "images_by_seed": list(counts), "by_seed": [dict(each) for each in means]}
    for name in (*MEANS, "lift"):
        values = [each[name] for each in means]
        over_seeds = paired_difference(values, [0.0] * len(values))
        summary[name] = {"mean": over_seeds.mean, "half_interval": over_seeds.half}
        if name in ("lift", "hit"):
            difference = paired_difference(values, [each[name] for each in first])
            summary[f"{name}_difference"] = {
                "mean": difference.mean,
                "half_interval": difference.half,
                "seen": difference.seen,
            }
    return summary


def table(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Return the summaries of one set of images as a Markdown table."""
    first = summaries[0]["arm"]
    head = ["arm", "energy in the mask, %", "area, %", "lift", "hits, %", "chance, %"]
    if len(summaries) > 1:
        head[4:4] = [f"lift to {first}, 95 %"]
        head.append(f"hits to {first}, 95 %")
    rows = [head, *(_row(summary, len(summaries) > 1, summary["arm"] == first) for summary in summaries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _row(summary: Mapping[str, Any], with_differences: bool, is_first: bool) -> list[str]:
    cells = [
        summary["arm"],
        _interval(summary["energy"], 100, 1),
        f"{100 * summary['area']['mean']:.1f}",
        _interval(summary["lift"], 1, 2),
    ]
    if with_differences:
        cells.append("" if is_first else difference_text(summary["lift_difference"], 1, 2))
    cells += [_interval(summary["hit"], 100, 1), f"{100 * summary['chance']['mean']:.1f}"]
    if with_differences:
        cells.append("" if is_first else difference_text(summary["hit_difference"], 100, 1))
    return cells


def difference_text(difference: Mapping[str, Any], factor: float, digits: int) -> str:
    """Return the text of a difference; the interval decides whether it is written as no difference."""
    value = Difference(difference["mean"], difference["half_interval"])
    text = f"{factor * value.mean:+.{digits}f}"
    if value.half is None:
        return f"{text} (one seed: no interval)"
    interval = f"{text} ± {factor * value.half:.{digits}f}"
    return interval if value.seen else f"no difference seen ({interval})"


def _interval(figure: Mapping[str, Any], factor: float, digits: int) -> str:
    text = f"{factor * figure['mean']:.{digits}f}"
    half = figure["half_interval"]
    return text if half is None else f"{text} ± {factor * half:.{digits}f}"
