"""Tasks: the inputs and the result of a worker.

A task contains the keys of units or rows and no images. It can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffcore_hf.core.schema import UnitKey

OnProgress = Callable[[int], None]
"""Callback that receives the number of images that are finished since its last call."""


@dataclass(frozen=True)
class CaptionTask:
    """Task: embed all captions of classes and contexts that are not in the ledger."""

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class ReferenceTask:
    """Task: embed real images, as one part of kind `ref`."""

    row_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row_ids)


@dataclass(frozen=True)
class PreparationTask:
    """Task: run the preparation of the strategy, which writes the files that all its attempts use."""

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class AttemptTask:
    """Task: generate attempt `number` of some units, as one part of round `number`."""

    units: tuple[UnitKey, ...]
    """Key of each unit."""
    number: int

    def __len__(self) -> int:
        return len(self.units)


Task = CaptionTask | ReferenceTask | PreparationTask | AttemptTask


@dataclass(frozen=True)
class CommittedPart:
    """The result of a task: a part that is on disk."""

    task: Task
    path: Path | None
    """Path of the part; None if the task had nothing to write."""
    seconds: float
    """Time to compute and write the part, including the loading of weights."""
    batch_size: int
    """Number of images in a device batch of the worker. The sizes of the next parts are multiples of it."""
