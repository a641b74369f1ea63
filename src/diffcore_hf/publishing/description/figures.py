"""Figures of a description: as a text for the terminal, as plain values for a file, and as the rows of the card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from diffcore_hf.core.terminal_text import visible
from diffcore_hf.method.description import MOST_PER_CLASS, Description, Figures
from diffcore_hf.method.distances import MIN_CMMD, NEIGHBOURS

SHOWN_CLASSES = 30
"""Largest number of classes in the text. If there are more, those with the highest CMMD are shown."""
MISSING = "-"
NEEDS = {
    "cmmd": ("CMMD", f"{MIN_CMMD} real and {MIN_CMMD} kept images"),
    "coverage": ("coverage and density", f"{NEIGHBOURS + 1} real images and 1 kept image"),
    "diversity": ("diversity", "2 real and 2 kept images"),
    "copies": ("the ratio of nearest images", "3 real images and 1 kept image"),
}
"""Field of Figures -> its name, and the images of a class that it needs."""
_NAMED_CLASSES = 5


class Column(NamedTuple):
    """One column of the table in the terminal."""

    head: str
    values: list[str]


def text(description: Description) -> list[str]:
    """Return the lines of the table of classes, and a line for each figure that some classes lack."""
    classes = sorted(description.classes, key=_highest_cmmd_first)
    shown = list(description.classes) if len(classes) <= SHOWN_CLASSES else classes[:SHOWN_CLASSES]
    rows = [*shown, description.overall]
    lines = _table([_names(rows), *_columns(rows)])
    if len(shown) < len(classes):
        more = len(classes) - len(shown)
        lines.insert(
            -1, f"... and {more:,} more classes with a lower CMMD or without CMMD. --json FILE writes all of them"
        )
    return [*lines, *missing(description), *samples(description)]


def _highest_cmmd_first(figures: Figures) -> float:
    return float("inf") if figures.cmmd is None else -figures.cmmd.value


def _names(rows: Sequence[Figures]) -> Column:
    return Column("class", [visible(row.name) for row in rows[:-1]] + ["all classes"])


def _columns(rows: Sequence[Figures]) -> list[Column]:
    """Return the columns of figures. A figure that a row lacks is a dash."""
    return [
        Column("real", [f"{row.real:,}" for row in rows]),
        Column("kept", [f"{row.kept:,}" for row in rows]),
        Column("CMMD", [f"{row.cmmd.value:.2f} ± {row.cmmd.error:.2f}" if row.cmmd else MISSING for row in rows]),
        Column("coverage", [_pair(row.coverage and row.coverage[:2], "{:.2f} ({:.2f})") for row in rows]),
        Column("density", [f"{row.coverage.density:.2f}" if row.coverage else MISSING for row in rows]),
        Column("Vendi", [_pair(row.diversity and row.diversity[2:0:-1], "{:.2f} ({:.2f})") for row in rows]),
        Column("cosine", [_pair(row.cosines and row.cosines[::-1], "{:.2f} ({:.2f})") for row in rows]),
        Column("ratio", [_pair(row.copies and row.copies[0:3:2], "{:.2f} ({:.2f})") for row in rows]),
    ]


def _pair(values: Sequence[float] | None, form: str) -> str:
    return MISSING if values is None else form.format(*values)


def _table(columns: Sequence[Column]) -> list[str]:
    """Return the heading and the rows; the first column is left-aligned."""
    widths = [max(len(text) for text in (column.head, *column.values)) for column in columns]
    texts = [[column.head for column in columns], *zip(*(column.values for column in columns), strict=True)]
    return [
        "  ".join(
            value.ljust(width) if number == 0 else value.rjust(width)
            for number, (value, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]


def missing(description: Description) -> list[str]:
    """Return a line for each figure that some classes lack, with the number of images that the figure needs."""
    lines = []
    for field, (name, needed) in NEEDS.items():
        without = [figures.name for figures in description.classes if getattr(figures, field) is None]
        if without:
            names = ", ".join(visible(class_name) for class_name in without[:_NAMED_CLASSES])
            more = f" and {len(without) - _NAMED_CLASSES} more" if len(without) > _NAMED_CLASSES else ""
            lines.append(f"- {name}: a class needs {needed}. Without: {names}{more}")
    return lines


def samples(description: Description) -> list[str]:
    """Return a line for the figures that use only a sample of the images of large classes, with the sample size."""
    lines = []
    for name, most in (
        ("CMMD, coverage and density", MOST_PER_CLASS),
        ("ratios and closest pairs", description.compared),
    ):
        larger = sum(max(figures.real, figures.kept) > most for figures in description.classes)
        if larger:
            classes = "1 class has" if larger == 1 else f"{larger:,} classes have"
            lines.append(f"- {name}: {classes} more than {most:,} real or kept images; {most:,} of them are used")
    return lines


def plain(description: Description) -> dict[str, Any]:
    """Return the figures as plain values; a figure that a class lacks is None."""
    return {
        "overall": {**_plain(description.overall), "classes_used": dict(description.used)},
        "classes": [_plain(figures) for figures in description.classes],
        "most_of_class": {"distributions": MOST_PER_CLASS, "ratios": description.compared},
    }


def _plain(figures: Figures) -> dict[str, Any]:
    values: dict[str, Any] = {"name": figures.name} if figures.name else {}
    values |= {"real": figures.real, "kept": figures.kept}
    for name in ("cmmd", "coverage", "diversity", "cosines", "copies"):
        found = getattr(figures, name)
        values[name] = None if found is None else found._asdict()
    return values


def card_rows(description: Description) -> list[tuple[str, str, str]]:
    """Return the rows of the card: figure, value over all classes, and expected value.

    The expected value is that of generated images that do not differ from real images. A figure that no class has is
    left out.
    """
    figures = description.overall
    rows = []
    if figures.cmmd:
        rows.append(("CMMD x 1000", f"{figures.cmmd.value:.2f} ± {figures.cmmd.error:.2f}", "0"))
    if figures.coverage:
        rows.append(("coverage", f"{figures.coverage.coverage:.2f}", f"{figures.coverage.expected:.2f}"))
        rows.append(("density", f"{figures.coverage.density:.2f}", "1"))
    if figures.diversity:
        name = f"Vendi score, {figures.diversity.size} images per class"
        rows.append((name, f"{figures.diversity.generated:.2f}", f"{figures.diversity.real:.2f}"))
    if figures.cosines:
        name = "mean cosine similarity of two images of a class"
        rows.append((name, f"{figures.cosines.generated:.2f}", f"{figures.cosines.real:.2f}"))
    if figures.copies:
        name = "share of images that are unusually close to one real image"
        rows.append((name, f"{100 * figures.copies.below:.1f} %", "5 %"))
    return rows
