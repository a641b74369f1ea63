"""Cells: the pieces that the evidence is measured in, each a fact on disk that exists whole or not at all.

Owns the run over what is not there yet. A cell is a name, an estimate of its time and a function that measures it; its
result is one small JSON file. What the page says is a pure function of these files (page.py).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from diffcore_hf.core.folder import canonical_json, write_whole

FACTS = Path(__file__).parents[2] / "docs" / "evidence"
SEEDS = (0, 1, 2, 3, 4)
_VERSIONS = ("torch", "timm", "diffusers", "transformers", "datasets")


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    name: str
    """Its file below the facts, without the ending: `judge/seen-own-0`."""
    seconds: float
    """About how long it takes on one core."""
    measure: Callable[[Path], dict[str, Any]]
    """Measures in a folder for what is made on the way, which outlasts a kill."""

    def path(self, facts: Path = FACTS) -> Path:
        """Where its result lies."""
        return facts / f"{self.name}.json"


def pending(cells: Iterable[Cell], facts: Path) -> list[Cell]:
    """The cells without a result."""
    return [cell for cell in cells if not cell.path(facts).is_file()]


def run(cells: Sequence[Cell], facts: Path, work: Path, workers: int, say: Callable[[str], None] = print) -> int:
    """Measure what is not there yet, in order, in processes of one thread; returns how many failed.

    Two threads beside another busy process are many times slower than one: so many processes, never many threads. A
    kill costs the cells at work; the same call goes on.
    """
    todo, failed = pending(cells, facts), 0
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # read on import, so before the processes start
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_settle, initargs=(work,)) as pool:
        jobs = {pool.submit(measure, cell, facts, work): cell for cell in todo}
        for number, job in enumerate(as_completed(jobs), 1):
            name = jobs[job].name
            if error := job.exception():
                failed += 1
                say(f"[{number}/{len(todo)}] {name} failed: {type(error).__name__}: {error}")
            else:
                say(f"[{number}/{len(todo)}] {name}: {job.result():.0f} s")
    return failed


def measure(cell: Cell, facts: Path, work: Path) -> float:
    """Measure one cell into its file; returns the seconds."""
    began = time.monotonic()
    result = cell.measure(work)
    seconds = time.monotonic() - began
    made = {"date": str(date.today()), "seconds": round(seconds, 1)}
    made["versions"] = {name: version(name) for name in _VERSIONS}
    write_whole(cell.path(facts), canonical_json(result | {"made": made}))
    return seconds


def read(facts: Path, below: str) -> dict[str, dict[str, Any]]:
    """Name -> result of all facts in a folder of them."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((facts / below).glob("*.json"))}


def listing(cells: Sequence[Cell], facts: Path, workers: int) -> str:
    """Every cell with its time and whether it is there; the sum of what is not."""
    lines = [
        f"{'done' if cell.path(facts).is_file() else '    '}  {cell.seconds:6.0f} s  {cell.name}" for cell in cells
    ]
    todo = pending(cells, facts)
    minutes = sum(cell.seconds for cell in todo) / 60 / workers
    return "\n".join([*lines, f"{len(todo)} of {len(cells)} cells to do, about {minutes:.0f} minutes"])


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone, however it went: a pool's workers would live on."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _settle(work: Path) -> None:
    """One thread, and a cache of datasets that goes with the work folder."""
    import datasets
    import torch

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE = work / f"cache-{os.getpid()}"
