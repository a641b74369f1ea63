"""Cells: the pieces that the evidence is measured in, each a fact on disk that exists whole or not at all.

Owns the run over what is not there yet. A cell is a name, an estimate of its time and a function that measures it; its
result is one small JSON file. What the page says is a pure function of these files (report.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.core.folder import canonical_json, write_whole

FACTS = Path(__file__).parents[2] / "docs" / "evidence"


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    name: str
    """Its file below the facts, without the ending: `judge/seen-own-0`."""
    seconds: float
    """About how long it takes on one core."""
    measure: Callable[[], dict[str, Any]]

    def path(self, facts: Path = FACTS) -> Path:
        """Where its result lies."""
        return facts / f"{self.name}.json"


def pending(cells: Iterable[Cell], facts: Path = FACTS) -> list[Cell]:
    """The cells without a result."""
    return [cell for cell in cells if not cell.path(facts).is_file()]


def run(cells: Sequence[Cell], facts: Path = FACTS, say: Callable[[str], None] = print) -> int:
    """Measure what is not there yet, in order; returns how many were measured. A kill costs the cell at work."""
    todo = pending(cells, facts)
    for number, cell in enumerate(todo, 1):
        began = time.monotonic()
        result = cell.measure()
        write_whole(cell.path(facts), canonical_json(result | {"seconds": round(time.monotonic() - began, 1)}))
        say(f"[{number}/{len(todo)}] {cell.name}: {time.monotonic() - began:.0f} s")
    return len(todo)


def read(cells: Iterable[Cell], facts: Path = FACTS) -> dict[str, dict[str, Any]]:
    """Name -> result of the cells that are there."""
    return {cell.name: json.loads(cell.path(facts).read_text()) for cell in cells if cell.path(facts).is_file()}


def listing(cells: Sequence[Cell], facts: Path = FACTS) -> str:
    """Every cell with its time and whether it is there; the sum of what is not."""
    lines = [f"{'done' if cell.path(facts).is_file() else '    '}  {cell.seconds:6.0f} s  {cell.name}" for cell in cells]
    left = sum(cell.seconds for cell in pending(cells, facts))
    return "\n".join([*lines, f"{len(pending(cells, facts))} of {len(cells)} cells to do, about {left / 60:.0f} minutes"])
