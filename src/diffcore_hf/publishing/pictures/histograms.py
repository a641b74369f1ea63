"""Histograms of similarities: what the filter saw, for the whole dataset and class by class.

Owns how they look. Gets numbers handed in. matplotlib's object interface only: no pyplot, no global state.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.publishing.card.text import one_line
from diffcore_hf.publishing.pictures.contact_sheet import INK, KEPT, LINE, MUTED, REJECTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_REAL, _REAL_LINE = "#d3d7de", "#8b93a1"
_MOST_CLASSES = 24


@dataclass(frozen=True)
class ClassSimilarities:
    """The similarities of one class."""

    name: str
    real_real: np.ndarray  # between two different real images
    kept: np.ndarray  # between a kept generated image and its row's real one
    rejected: np.ndarray
    bound: float | None = None  # of the policy, where it compares these similarities

    @property
    def rejected_share(self) -> float:
        """The share of the generated images that was rejected; 0 where there are none."""
        return len(self.rejected) / max(1, len(self.kept) + len(self.rejected))


def similarity_histogram(
    real_real: np.ndarray,
    kept: np.ndarray,
    rejected: np.ndarray,
    *,
    bound: float | None,
    bound_label: str = "bound of the policy",
    title: str,
) -> bytes:
    """Two distributions in one plot: pairs of real images of a class, and real images with their generated ones.

    Args:
        real_real, kept, rejected: similarities; what is not finite is left out, empty arrays are shown as such.
        bound: the threshold of the policy in this space; None where it has none: then the mean of the real pairs
            (tau of Eq. 5) is drawn dotted, named as such.
        bound_label: what the bound is, for the legend.

    Returns:
        PNG, 1200 pixels wide; equal arguments give equal bytes.
    """
    figure = _figure(7.5, 3.9, title)
    axes = figure.add_subplot()
    series = _finite(real_real, kept, rejected)
    _bars(axes, series, _edges(series, 48))
    real = series[0]
    if bound is not None:
        axes.axvline(bound, color=INK, linewidth=1.6, label=f"{bound_label}: {bound:.2f}")
    elif len(real):
        mean = real.mean()
        label = f"mean of the real pairs (tau): {mean:.2f}, not a threshold here"
        axes.axvline(mean, color=INK, linewidth=1.6, linestyle=":", label=label)
    axes.set_xlabel("cosine similarity of two images", color=MUTED, fontsize=9)
    axes.set_ylabel("share of the pairs", color=MUTED, fontsize=9)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    _legend(figure, columns=2)
    return _png(figure)


def class_histograms(classes: Sequence[ClassSimilarities], *, title: str, columns: int = 4) -> bytes:
    """One small plot a class with its rejected of all, those with the largest share first; 24 at most, and says so.

    Returns:
        PNG, 1200 pixels wide; equal arguments give equal bytes.
    """
    ordered = sorted(classes, key=lambda one: (-one.rejected_share, one.name))[:_MOST_CLASSES]
    rows = max(1, -(-len(ordered) // columns))
    if len(ordered) < len(classes):
        title += f" · the {len(ordered)} of {len(classes)} classes with most rejected"
    figure = _figure(7.5, 0.85 + 1.25 * rows, title)
    series = [_finite(one.real_real, one.kept, one.rejected) for one in ordered]
    edges = _edges([values for three in series for values in three], 24)
    for index, (one, three) in enumerate(zip(ordered, series, strict=True)):
        axes = figure.add_subplot(rows, columns, index + 1)
        _bars(axes, three, edges)
        if one.bound is not None:
            axes.axvline(one.bound, color=INK, linewidth=1.2, label="bound of the policy")
        name = one_line(one.name)
        name = name if len(name) <= 18 else name[:17].rstrip() + "…"
        axes.set_title(name, loc="left", fontsize=7.5, color=INK, pad=4, parse_math=False)
        total = len(one.kept) + len(one.rejected)
        words = f"{len(one.rejected)} of {total}" if total else "none"
        axes.set_title(words, loc="right", fontsize=7, color=REJECTED if len(one.rejected) else MUTED, pad=4)
        axes.tick_params(labelsize=6)
        axes.set_yticks([])
    _legend(figure, columns=4)
    return _png(figure)


def _finite(*arrays: np.ndarray) -> list[np.ndarray]:
    """Each as float64, flat, without what is not finite."""
    flat = [np.asarray(values, dtype=np.float64).ravel() for values in arrays]
    return [values[np.isfinite(values)] for values in flat]


def _edges(series: Sequence[np.ndarray], bins: int) -> np.ndarray:
    """Bin edges over everything that is shown; (bins + 1,)."""
    values = np.concatenate([*series, np.zeros(0)])
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = max(0.01, (high - low) * 0.02)
    return np.linspace(low - margin, high + margin, bins + 1)


def _bars(axes: Axes, series: Sequence[np.ndarray], edges: np.ndarray) -> None:
    """Real pairs as an area behind; kept and rejected stacked before it; each of the two distributions sums to 1."""
    real, kept, rejected = series
    if len(real):
        share = np.histogram(real, edges)[0] / len(real)
        axes.stairs(share, edges, fill=True, color=_REAL, label="two real images of a class")
        axes.stairs(share, edges, color=_REAL_LINE, linewidth=0.9, zorder=3)  # still seen where bars stand before it
    total = len(kept) + len(rejected)
    below: Any = np.zeros(len(edges) - 1)
    if total:
        for values, colour, hatch, word in ((kept, KEPT, None, "kept"), (rejected, REJECTED, "////", "rejected")):
            share = np.histogram(values, edges)[0] / total
            some = share > 0
            style = {"color": colour, "alpha": 0.85} if hatch is None else {"facecolor": "#f3d9d6", "edgecolor": colour}
            axes.bar(edges[:-1][some], share[some], np.diff(edges)[some], below[some], align="edge", hatch=hatch,
                     linewidth=0.6, label=f"real and generated, {word}", **style)  # fmt: skip
            below = below + share
    axes.set_xlim(edges[0], edges[-1])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def _figure(width: float, height: float, title: str) -> Figure:
    """A titled figure with its own canvas, in inches at 160 dots each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    FigureCanvasAgg(figure)
    line = one_line(title)
    line = line if len(line) <= 90 else line[:89].rstrip() + "…"
    figure.suptitle(line, x=0.014, ha="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)
    return figure


def _legend(figure: Figure, *, columns: int) -> None:
    """One legend for all plots, below them; where nothing was drawn, a word that says so."""
    pairs = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    entries = {label: handle for handle, label in pairs}
    if entries:
        legend = figure.legend(entries.values(), entries.keys(), loc="outside lower left", ncols=columns, frameon=False,
                               fontsize=8, labelcolor=INK, handlelength=1.6, columnspacing=1.4)  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
        return
    for axes in figure.axes:
        axes.set_axis_off()
    figure.text(0.5, 0.5, "nothing to compare yet", ha="center", color=MUTED)


def _png(figure: Figure) -> bytes:
    """The figure as PNG without metadata."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
