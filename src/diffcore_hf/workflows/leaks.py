"""Leaks between the real splits of a source, for `plan --leaks`: text, report and sheet. No model is loaded.

Owns the texts and the file of the sheet. The comparison is in augmentation/split_leaks.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffcore_hf.augmentation.print_groups import RealRow
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.augmentation.source.hashes import image_cells
from diffcore_hf.augmentation.source.labels import UNLABELLED
from diffcore_hf.augmentation.source.report import RowNames
from diffcore_hf.augmentation.split_leaks import SplitLeaks, SplitPair, compare_splits, groups_of, steps
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import write_atomic
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.method.copies.closeness import BOUND, METHOD

SHOWN = 10
"""Largest number of pairs in the text."""
SHEET_PAIRS = 24
"""Largest number of pairs on the sheet. At least half of the shown pairs are below the bound, if enough pairs are."""


def sheet_path(report: str) -> Path:
    """Return the file of the sheet that belongs to a report."""
    return Path(report).with_suffix(".leaks.png")


def check_sheet_file(report: str | None) -> None:
    """Check that the sheet of a report can be written. An existing file is replaced only together with its report.

    Raises:
        UserError: the file exists, but the report does not.
    """
    if report is None or os.path.exists(report):
        return
    path = sheet_path(report)
    if os.path.lexists(path):
        raise UserError(
            f"--report is {report}, but the sheet of --leaks is written to {path}, which exists. Give --report another "
            "name"
        )


def find_leaks(run: Run, *, progress: bool = True) -> SplitLeaks | None:
    """Compare the real images of all splits with a progress bar; None if there is only one split."""
    from tqdm.auto import tqdm

    groups = groups_of(run)
    if len(groups) < 2:
        return None
    with tqdm(
        total=steps(groups), desc="comparing splits", unit="image", delay=3, leave=False, disable=not progress
    ) as bar:
        return compare_splits(run, groups, bar.update)


def leaks_text(run: Run, leaks: SplitLeaks | None) -> str:
    """Return the result as lines for the terminal, at most SHOWN pairs."""
    if leaks is None:
        return "leaks: not searched, because the dataset has one split only"
    splits = ", ".join(f"{name} {count:,}" for name, count in leaks.groups.items())
    same, names = leaks.same, RowNames(run.source)
    pairs = "1 pair" if len(same) == 1 else f"{len(same):,} pairs"
    lines = [f"leaks: {pairs} of images of different splits show the same picture ({splits} images compared)"]
    lines += [
        f"  {names.of(pair.first.split, pair.first.row)} and {names.of(pair.second.split, pair.second.row)}: "
        f"score {pair.score:.3f}, {_classes(run.source, pair)}"
        for pair in same[:SHOWN]
    ]
    if len(same) > SHOWN:
        lines.append(f"  ... and {len(same) - SHOWN:,} more")
    if same:
        lines.append(
            "  Look at the pairs (--report FILE.json also draws them). If they are the same picture, remove one image "
            "of each pair"
        )
    return "\n".join(map(visible, lines))


def leaks_plain(run: Run, leaks: SplitLeaks | None) -> dict[str, Any]:
    """Return the result as plain values, for the report."""
    if leaks is None:
        return {"leaks": None}
    names = RowNames(run.source)
    return {
        "leaks": {
            "method": METHOD,
            "bound": BOUND,
            "images": leaks.groups,
            "pairs": [
                {
                    "rows": [pair.first.row_id, pair.second.row_id],
                    "names": [names.of(row.split, row.row) for row in (pair.first, pair.second)],
                    "classes": [_class(run.source, row) for row in (pair.first, pair.second)],
                    "score": pair.score,
                    "same_picture": pair.is_same,
                    "same_file": pair.first.sha256 == pair.second.sha256,
                }
                for pair in leaks.pairs
            ],
        }
    }


def write_sheet(run: Run, leaks: SplitLeaks, report: str) -> Path:
    """Draw the closest pairs beside a report and return the file."""
    path = sheet_path(report)
    write_atomic(path, leaks_sheet(run, leaks))
    return path


def leaks_sheet(run: Run, leaks: SplitLeaks) -> bytes:
    """Return the sheet of the closest pairs as PNG: pairs with the same picture, then pairs below the bound."""
    from diffcore_hf.publishing.pictures.card_sheet import png_bytes
    from diffcore_hf.publishing.pictures.pairs_sheet import PairTile, pairs_sheet
    from diffcore_hf.workflows.pictures import sheet_bytes

    def content(row: RealRow) -> bytes | None:
        [cell] = image_cells(run.source.splits[row.split].select([row.row]), run.source.config.image)
        return sheet_bytes(cell, run.source.files)

    return png_bytes(
        pairs_sheet(
            [
                PairTile(
                    images=(content(pair.first), content(pair.second)),
                    name=_classes(run.source, pair),
                    rows=f"{pair.first.row_id} – {pair.second.row_id}",
                    label="same picture" if pair.is_same else "below the bound",
                    score=pair.score,
                    is_same=pair.is_same,
                )
                for pair in shown_pairs(leaks.pairs)
            ],
            title="Real images of different splits",
            legend="Under each pair: the classes, the rows, the decision, the score. "
            f"From {BOUND:g} on, both show the same picture",
            captions=("one split", "another split"),
            empty="no images of different splits were compared",
        )
    )


def shown_pairs(pairs: Sequence[SplitPair], count: int = SHEET_PAIRS) -> list[SplitPair]:
    """Return the pairs on the sheet.

    If not all pairs that show the same picture fit, those with the lowest scores are chosen, because they are doubtful.
    """
    same = [pair for pair in pairs if pair.is_same]
    below = [pair for pair in pairs if not pair.is_same]
    most = max(count - len(below), count // 2)
    chosen = same[-most:]
    return [*chosen, *below[: count - len(chosen)]]


def _class(source: LoadedSource, row: RealRow) -> str | None:
    label = int(source.labels[row.split][row.row])
    return None if label == UNLABELLED else source.names[label]


def _classes(source: LoadedSource, pair: SplitPair) -> str:
    first, second = (_class(source, row) or "no class" for row in (pair.first, pair.second))
    return first if first == second else f"{first} / {second}"
