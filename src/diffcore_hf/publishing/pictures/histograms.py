"""Histograms: draws the similarities that the filter used, for the whole dataset and for each class.

Owns the layout of the plots. Uses only matplotlib's object interface, without pyplot and without global state.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from diffcore_hf.publishing.card.text import one_line
from diffcore_hf.publishing.pictures.card_sheet import INK, LINE, MUTED
from diffcore_hf.publishing.pictures.contact_sheet import KEPT, REJECTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REAL, REAL_LINE = "#d3d7de", "#8b93a1"
MAX_CLASSES = 24

Similarities = npt.NDArray[np.floating[Any]]
"""(N,) cosine similarities."""

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassSimilarities:
    """The similarities of one class."""

    name: str
    real_real: Similarities
    """Similarities of two different real images."""
    kept: Similarities
    """Similarities of a kept generated image and the real image of its row."""
    rejected: Similarities
    """Similarities of a rejected generated image and the real image of its row."""
    bound: float | None = None
    """Bound of the policy; None if the policy does not compare these similarities."""

    @property
    def rejected_share(self) -> float:
        """Returns the share of rejected images among the generated ones; 0 if there are none."""
        return len(self.rejected) / max(1, len(self.kept) + len(self.rejected))


def similarity_histogram(
    real_real: Similarities,
    kept: Similarities,
    rejected: Similarities,
    *,
    bound: float | None,
    bound_label: str = "bound of the policy",
    title: str,
) -> bytes:
    """Draws two distributions in one plot: pairs of real images of a class, and pairs of a real and a generated image.

    Args:
        real_real: similarities of two different real images of one class. Values that are not finite are ignored, here
            and in the next arguments.
        kept: similarities of kept generated images to the real image of their row.
        rejected: similarities of rejected generated images to the real image of their row.
        bound: threshold of the policy for these similarities. If it is None, a dotted line shows the mean of the real
            pairs (tau of Eq. 5). The legend then says that the line is not a threshold.
        bound_label: name of the bound in the legend.
        title: title in one line.

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
    """Draws one small plot for each class. The classes with the largest share of rejected images come first.

    Args:
        classes: similarities of each class. At most 24 are drawn. If there are more, the title has the number of all
            classes.
        title: title in one line.
        columns: number of plots in a row.

    Returns:
        PNG, 1200 pixels wide; equal arguments give equal bytes.
    """
    ordered = sorted(classes, key=lambda item: (-item.rejected_share, item.name))[:MAX_CLASSES]
    rows = max(1, -(-len(ordered) // columns))
    if len(ordered) < len(classes):
        title += f" · {len(ordered)} of {len(classes)} classes, those with the largest rejected share"
    figure = _figure(7.5, 0.85 + 1.25 * rows, title)
    series = [_finite(item.real_real, item.kept, item.rejected) for item in ordered]
    edges = _edges(list(chain.from_iterable(series)), 24)
    for index, (item, values) in enumerate(zip(ordered, series, strict=True)):
        axes = figure.add_subplot(rows, columns, index + 1)
        _bars(axes, values, edges)
        if item.bound is not None:
            axes.axvline(item.bound, color=INK, linewidth=1.2, label="bound of the policy")
        name = _shorten(item.name, 18)
        axes.set_title(name, loc="left", fontsize=7.5, color=INK, pad=4, parse_math=False)
        total = len(item.kept) + len(item.rejected)
        rejected_text = f"{len(item.rejected)} of {total}" if total else "none"
        axes.set_title(rejected_text, loc="right", fontsize=7, color=REJECTED if len(item.rejected) else MUTED, pad=4)
        axes.tick_params(labelsize=6)
        axes.set_yticks([])
    _legend(figure, columns=4)
    return _png(figure)


def _shorten(text: str, length: int) -> str:
    line = one_line(text)
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _finite(*arrays: Similarities) -> list[Counts]:
    """Returns the finite values of each array, flat and as float64."""
    flat = [np.asarray(values, dtype=np.float64).ravel() for values in arrays]
    return [values[np.isfinite(values)] for values in flat]


def _edges(series: Sequence[Counts], bins: int) -> Counts:
    """Returns the (bins + 1,) bin edges for all values."""
    values = np.concatenate([*series, np.zeros(0)])
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = max(0.01, (high - low) * 0.02)
    return np.linspace(low - margin, high + margin, bins + 1)


def _bars(axes: Axes, series: Sequence[Counts], edges: Counts) -> None:
    """Draws real pairs as an area, and in front of it kept and rejected images as stacked bars.

    The values of the area have the sum 1, and so have the values of all bars together.
    """
    real, kept, rejected = series
    if len(real):
        share = np.histogram(real, edges)[0] / len(real)
        axes.stairs(share, edges, fill=True, color=REAL, label="two real images of a class")
        axes.stairs(share, edges, color=REAL_LINE, linewidth=0.9, zorder=3)  # visible in front of the bars
    total = len(kept) + len(rejected)
    below: Any = np.zeros(len(edges) - 1)
    if total:
        for values, colour, hatch, word in ((kept, KEPT, None, "kept"), (rejected, REJECTED, "////", "rejected")):
            share = np.histogram(values, edges)[0] / total
            some = share > 0
            style = {"color": colour, "alpha": 0.85} if hatch is None else {"facecolor": "#f3d9d6", "edgecolor": colour}
            axes.bar(
                edges[:-1][some],
                share[some],
                np.diff(edges)[some],
                below[some],
                align="edge",
                hatch=hatch,
                linewidth=0.6,
                label=f"real and generated, {word}",
                **style,
            )
            below = below + share
    axes.set_xlim(edges[0], edges[-1])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def _figure(width: float, height: float, title: str) -> Figure:
    """Creates a figure with a title and a canvas. Sizes are in inches, at 160 dots per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
    figure = Figure(figsize=(width, height), dpi=160, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    line = _shorten(title, 90)
    figure.suptitle(line, x=0.014, ha="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)
    return figure


def _legend(figure: Figure, *, columns: int) -> None:
    """Draws one legend for all plots below them, or a text if the figure has no data."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    if entries:
        legend = figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower left",
            ncols=columns,
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            handlelength=1.6,
            columnspacing=1.4,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
        return
    for axes in figure.axes:
        axes.set_axis_off()
    figure.text(0.5, 0.5, "nothing to compare yet", ha="center", color=MUTED)


def _png(figure: Figure) -> bytes:
    """Encodes the figure as PNG without metadata."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
