"""Stores the results of cells: new results in one file for each cell, packed results in one file for each series.

A cell is named `<series>/<name>`. Processes that measure in parallel write new results to `<new>/<series>/<name>.json`.
Git ignores this folder. `pack` moves the new results into `<packed>/<series>.json`. These files are committed, and the
page is written from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.core.folder import canonical_json, write_atomic

PACKED = Path(__file__).parent / "results"
NEW = Path("out") / "evidence" / "cells"

CellResult = Mapping[str, Any]


@dataclass(frozen=True)
class Store:
    """The two folders that hold the results of cells."""

    packed: Path = PACKED
    """Folder with one JSON file for each series: cell name without the series -> result."""
    new: Path = NEW
    """Folder with one JSON file for each cell that is not packed yet."""

    def path(self, name: str) -> Path:
        """Returns the file of a new cell."""
        return self.new / f"{name}.json"

    def write(self, name: str, result: CellResult) -> None:
        """Writes the result of a new cell, completely or not at all."""
        write_atomic(self.path(name), canonical_json(result))

    def measured(self, *, again: bool = False) -> set[str]:
        """Returns the names of the measured cells. If `again` is true, packed results are ignored."""
        names = {f"{path.parent.name}/{path.stem}" for path in self.new.glob("*/*.json")}
        if not again:
            for path in self.packed.glob("*.json"):
                names.update(f"{path.stem}/{name}" for name in self.series(path.stem))
        return names

    def series(self, series: str) -> dict[str, CellResult]:
        """Returns the packed results of a series by name; {} if the series has no file."""
        path = self.packed / f"{series}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def all_of(self, series: str) -> dict[str, CellResult]:
        """Returns the results of a series by name. A new result replaces a packed one."""
        new = sorted((self.new / series).glob("*.json"))
        return self.series(series) | {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in new}

    def pack(self) -> int:
        """Moves all new results into the files of their series, and returns their number.

        A new result replaces a packed one.
        """
        paths = sorted(self.new.glob("*/*.json"))
        for series in sorted({path.parent.name for path in paths}):
            new = [path for path in paths if path.parent.name == series]
            results = self.series(series) | {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in new}
            write_atomic(self.packed / f"{series}.json", canonical_json(results))
            for path in new:
                path.unlink()
        return len(paths)
