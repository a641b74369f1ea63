"""Cells: the single measurements of the evidence, and the run that measures them.

A cell is a name, an estimate of its time and a function that measures it. Does not own the storage of results
(store.py) or the sentences about them (meaning.py).
"""

from __future__ import annotations

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

from benchmarks.evidence.store import Store

SEEDS = (0, 1, 2, 3, 4)
_VERSIONS = ("torch", "timm", "diffusers", "transformers", "datasets")


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    name: str
    """`<series>/<name>`, such as `judge/seen-own-0`."""
    seconds: float
    """Estimate of its time on one core."""
    measure: Callable[[Path], dict[str, Any]]
    """Function of a folder of intermediate files that returns the result. The files are kept if the run is killed."""

    @property
    def series(self) -> str:
        """Returns the name of the series."""
        return self.name.partition("/")[0]


def pending(cells: Iterable[Cell], store: Store, *, again: bool = False) -> list[Cell]:
    """Returns the cells without a result. If `again` is true, packed results are ignored."""
    measured = store.measured(again=again)
    return [cell for cell in cells if cell.name not in measured]


def run(
    cells: Sequence[Cell],
    store: Store,
    work: Path,
    workers: int,
    report: Callable[[str], None] = print,
) -> int:
    """Measures the cells in their order, in processes with one thread each. Returns the number of failed cells.

    If other processes are busy, two threads of one process are much slower than one thread. So there are several
    processes with one thread each. If the run is killed, only the results of unfinished cells are lost.
    """
    failed = 0
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # read on import, so before the processes start
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_settle, initargs=(work,)) as pool:
        jobs = {pool.submit(measure, cell, store, work): cell for cell in cells}
        for number, job in enumerate(as_completed(jobs), 1):
            name = jobs[job].name
            if error := job.exception():
                failed += 1
                report(f"[{number}/{len(cells)}] {name} failed: {type(error).__name__}: {error}")
            else:
                report(f"[{number}/{len(cells)}] {name}: {job.result():.0f} s")
    return failed


def measure(cell: Cell, store: Store, work: Path) -> float:
    """Measures one cell, stores its result and returns the seconds."""
    start = time.monotonic()
    result = cell.measure(work)
    seconds = time.monotonic() - start
    made = {
        "date": str(date.today()),
        "seconds": round(seconds, 1),
        "versions": {name: version(name) for name in _VERSIONS},
        "attempt_stage": attempt_stage(),
    }
    store.write(cell.name, result | {"made": made})
    return seconds


def attempt_stage() -> str:
    """Returns the version of the attempt stage, without the versions of its parts."""
    from diffcore_hf.augmentation.stages.attempt import Attempt

    return Attempt.VERSION.split("+")[0]


def listing(cells: Sequence[Cell], due: Sequence[Cell], workers: int) -> str:
    """Returns a line for each cell and each series, with the estimated time of the cells that are not measured.

    Args:
        cells: all cells.
        due: the cells that are not measured.
        workers: number of processes, for the total time.
    """
    names = {cell.name for cell in due}
    lines = [f"{'    ' if cell.name in names else 'done'}  {cell.seconds:6.0f} s  {cell.name}" for cell in cells]
    for series in dict.fromkeys(cell.series for cell in cells):
        of_series = [cell for cell in due if cell.series == series]
        count = sum(cell.series == series for cell in cells)
        lines.append(
            f"series {series}: {len(of_series)} of {count} cells to do, about {_minutes(of_series)} core minutes"
        )
    minutes = sum(cell.seconds for cell in due) / 60 / workers
    return "\n".join([*lines, f"{len(due)} of {len(cells)} cells to do, about {minutes:.0f} minutes"])


def _minutes(cells: Iterable[Cell]) -> str:
    return f"{sum(cell.seconds for cell in cells) / 60:.0f}"


def _end_with(parent: int) -> None:
    """Ends this process when its parent process has ended. The workers of a pool do not do this by themselves."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _settle(work: Path) -> None:
    """Prepares a worker process: one thread, and the cache of `datasets` in the folder of intermediate files."""
    import datasets
    import torch

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE = work / f"cache-{os.getpid()}"
