"""The log of a training: log.jsonl, and the sums of loss, throughput and time since its last line.

Losses stay on the device until a line is written, so that steps do not wait for the device.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcore_hf.training.data.loader import Batch

Report = Callable[[Mapping[str, Any]], None]
"""Callback that receives each record of the log, such as a progress bar or a tracker."""


class TrainingLog:
    """Writes records to log.jsonl and passes them to a callback."""

    def __init__(self, path: Path, report: Report, writes: bool):
        """Store the file and the callback.

        Args:
            path: path of log.jsonl; its folder is created with the first record.
            report: callback that receives each record.
            writes: whether this process writes; only the main process does.
        """
        self._path, self._report, self._writes = path, report, writes

    def write(self, step: int, **figures: Any) -> None:
        """Append a record with the number of the step and its figures."""
        if not self._writes:
            return
        record = {"step": step, **figures}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._report(record)


class Window:
    """Sums figures since the last record of the log."""

    def __init__(self, device: torch.device):
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self._device = device
        self.restart()

    def restart(self) -> None:
        """Set all sums to zero and restart the clock, e.g. after an evaluation, so that its time is not counted."""
        self._loss = torch.zeros((), device=self._device)
        self._batches = self._images = self._mixed = 0
        self._waited = self._mixing = 0.0
        self._started = time.monotonic()

    def add_batch(self, batch: Batch, waited: float) -> None:
        """Count a batch for which the loop waited `waited` seconds."""
        self._waited += waited
        self._images += len(batch["labels"])
        self._mixed += batch["mixed"]
        self._mixing += batch["seconds"]

    def add_loss(self, loss: Tensor, step: int) -> None:
        """Add the loss of a batch; `step` is counted from 0."""
        self._loss += loss
        self._batches += 1
        self._bad_step = torch.where((self._bad_step < 0) & ~torch.isfinite(loss), step, self._bad_step)

    @property
    def bad_step(self) -> int:
        """The first step with a loss that is not finite, counted from 0; -1 if all losses are finite."""
        return int(self._bad_step)

    def figures(self, processes: int) -> dict[str, float]:
        """Return the figures since the last restart, and restart.

        Args:
            processes: number of training processes, for the total throughput.

        Returns:
            `loss`: mean loss. `images_per_second`: throughput of all processes. `data_wait`: share of the time in which
            the loop waited for a batch. `mixing`: time spent on second images and mixing, summed over loader processes,
            as a share of the time. `mixed`: share of samples that were mixed.
        """
        seconds = time.monotonic() - self._started
        figures = {
            "loss": float(self._loss) / max(1, self._batches),
            "images_per_second": round(processes * self._images / seconds, 1),
            "data_wait": round(self._waited / seconds, 4),
            "mixing": round(self._mixing / seconds, 4),
            "mixed": round(self._mixed / max(1, self._images), 4),
        }
        self.restart()
        return figures
