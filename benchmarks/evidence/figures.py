"""The figures of docs/results.md, as PNG. Error bars are 95 % intervals over the seeds.

Owns the colours, markers and labels of the figures. Uses only the object interface of matplotlib, so there is no
global state.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import mean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.evidence.series import BySeed, Results, difference
from benchmarks.evidence.worlds import UNMENTIONED
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.training.comparison.statistics import Difference, paired_difference

INK, MUTED, LINE = "#23272f", "#6b7280", "#d9d6cf"
# Colours and markers of policies and of ways of training.
COLOURS = {
    **{"all": "#70757d", "mean": "#b3423a", "quantile": "#c98a2b", "classifier": "#3b6ea5", "context_free": "#2f7d5b"},
    **{"oracle": "#23272f", "plain": "#70757d", "generated": "#2f7d5b", "mix": "#3b6ea5"},
}
MARKERS = {
    **{"all": "o", "mean": "v", "quantile": "s", "classifier": "D", "context_free": "^"},
    **{"oracle": "*", "plain": "o", "generated": "^", "mix": "s"},
}


def guidance(results: Results, gammas: Sequence[str], keeps: Mapping[str, str]) -> bytes:
    """Draws the accuracy over gamma with one line for each policy.

    A second diagram below shows the share of generated images of the right species.
    """
    figure = _figure(6.4, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    places = [float(gamma) for gamma in gammas]
    for keep, words in keeps.items():
        _line(
            above, places, [results.accuracy(f"gamma-{g}.{keep}", "scratch", UNMENTIONED) for g in gammas], keep, words
        )
    right = [results.right_species(f"gamma-{g}") for g in gammas]
    _line(below, places, right, "oracle", "generated images of the right species")
    below.set_xscale("log")
    below.set_xticks(places, gammas)
    below.minorticks_off()
    below.set_xlabel("gamma (guidance_scale = 1 + gamma)", color=MUTED)
    above.set_ylabel("top-1 in contexts never mentioned, %", color=MUTED)
    below.set_ylabel("images of the\nright species, %", color=MUTED)
    above.legend(frameon=False, fontsize=8)
    return png(figure)


def contexts(results: Results, cell: str, policies: Mapping[str, str]) -> bytes:
    """Draws, for each context, which share of the images of the right species each policy accepts."""
    figure = _figure(6.4, 4.2)
    axes = figure.add_subplot()
    for place, (policy, words) in enumerate(policies.items()):
        values = [
            results.judged(cell, lambda f, p=policy, c=c: f["policies"][p]["right_by_context"][c]) for c in CONTEXTS
        ]
        heights = [row + 0.15 * (place - (len(policies) - 1) / 2) for row in range(len(CONTEXTS))]
        for by_seed, height in zip(values, heights, strict=True):
            if by_seed:
                middle, half = interval(by_seed)
                axes.errorbar(100 * middle, height, xerr=100 * half, fmt=MARKERS[policy], color=COLOURS[policy],
                              markersize=5, elinewidth=1, label=words if height == heights[0] else None)  # fmt: skip
    axes.set_yticks(range(len(CONTEXTS)), CONTEXTS)
    axes.invert_yaxis()
    axes.set_xlim(-2, 102)
    axes.set_xlabel("images of the right species that are accepted, %", color=MUTED)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=len(policies))
    return png(figure)


def investment(results: Results, generators: Mapping[str, str], keeps: Mapping[str, str]) -> bytes:
    """Draws the difference in accuracy between each policy and policy `all`.

    For each generator, all policies select from the same generated images.
    """
    groups = []
    for generator, title in generators.items():
        base = results.accuracy(f"{generator}.all", "scratch", UNMENTIONED)
        marks = [
            Mark(
                words,
                difference(results.accuracy(f"{generator}.{keep}", "scratch", UNMENTIONED), base),
                COLOURS.get(keep, MUTED),
            )
            for keep, words in keeps.items()
        ]
        groups.append((title, marks))
    return differences(
        groups,
        "top-1 minus top-1 when everything is kept (percentage points),\nin contexts never mentioned",
        0.8 + 0.28 * len(generators) * (len(keeps) + 1),
    )


class Mark(NamedTuple):
    """One row of a figure of differences."""

    label: str
    gap: Difference | None
    """None: nothing is measured, so the row stays empty."""
    colour: str


def differences(groups: Sequence[tuple[str, Sequence[Mark]]], label: str, height: float) -> bytes:
    """Draws differences in accuracy with their intervals, one row for each, below the titles of their groups.

    Args:
        groups: title and marks of each group.
        label: label of the horizontal axis.
        height: height of the figure in inches.
    """
    figure = _figure(6.4, height)
    axes = figure.add_subplot()
    ticks: list[float] = []
    row = 0.0
    for title, marks in groups:
        axes.text(0.0, row - 0.55, title, transform=axes.get_yaxis_transform(), fontsize=9, color=INK, va="bottom")
        for mark in marks:
            if mark.gap is not None:
                half = 100 * (mark.gap.half or 0)
                axes.errorbar(100 * mark.gap.mean, row, xerr=half, fmt="o", color=mark.colour, elinewidth=1.4)
            ticks.append(row)
            row += 1
        row += 1
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(ticks, [mark.label for mark in chain.from_iterable(marks for _, marks in groups)])
    axes.set_ylim(row - 1, -1.2)
    axes.set_xlabel(label, color=MUTED)
    return png(figure)


def numbers_of_real(results: Results, arms: Mapping[str, Mapping[int, str]], words: Mapping[str, str]) -> bytes:
    """Draws the accuracy over the number of real images of a species, with one line for each kind of training."""
    figure = _figure(6.4, 3.6)
    axes = figure.add_subplot()
    for name, by_number in arms.items():
        values = [results.accuracy(arm, "scratch", UNMENTIONED) for arm in by_number.values()]
        _line(axes, list(by_number), values, name, words[name])
    axes.set_xticks(sorted({number for by_number in arms.values() for number in by_number}))
    axes.set_xlabel("number of real images of each species", color=MUTED)
    axes.set_ylabel("top-1 in contexts never mentioned, %", color=MUTED)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return png(figure)


def _line(axes: Axes, places: Sequence[float], values: Sequence[BySeed], key: str, words: str) -> None:
    points = [(place, *interval(by_seed)) for place, by_seed in zip(places, values, strict=True) if by_seed]
    if points:
        x, middle, half = zip(*points, strict=True)
        style = {"color": COLOURS[key], "marker": MARKERS[key], "markersize": 5, "linewidth": 1.4, "elinewidth": 1}
        percents = [[100 * value for value in values] for values in (middle, half)]
        axes.errorbar(x, percents[0], yerr=percents[1], capsize=2, label=words, **style)


def interval(values: BySeed) -> tuple[float, float]:
    """Returns the mean and half the width of the 95 % interval over the seeds; the width is 0 with one seed."""
    gap = paired_difference(list(values.values()), [0.0] * len(values))
    return mean(values.values()), gap.half or 0.0


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """Returns a figure as PNG, with the colours and grid lines of the page."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(LINE)
        axes.grid(color=LINE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(colors=MUTED, labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
