"""Tasks: what a worker can be asked to compute, and what it returns.

A task names units or rows by their keys, so images never travel with it, and it can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OnProgress = Callable[[int], None]
"""Called with a number of images that are done."""


@dataclass(frozen=True)
class CaptionTask:
    """Embed the captions of all classes and contexts that the ledger lacks."""

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class ReferenceTask:
    """Embed some real images: one part of kind `ref`."""

    row_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row_ids)


@dataclass(frozen=True)
class PreparationTask:
    """Make what all attempts of the strategy share."""

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class AttemptTask:
    """Make attempt `number` of some units: one part of round `number`."""

    units: tuple[tuple[str, int], ...]
    """(row id, copy) of each unit."""
    number: int

    def __len__(self) -> int:
        return len(self.units)


Task = CaptionTask | ReferenceTask | PreparationTask | AttemptTask


@dataclass(frozen=True)
class CommittedPart:
    """The result of a task: a part that is on disk."""

    task: Task
    path: Path | None
    """The part; None where the task had nothing to write."""
    seconds: float
    """Time to compute and write it, the loading of weights included."""
    batch_size: int
    """Images per device batch of the worker, of which the next parts are multiples."""
