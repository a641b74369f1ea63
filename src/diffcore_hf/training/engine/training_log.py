"""The log of a training: log.jsonl, and the figures of loss, throughput and time between two of its lines.

Losses stay on the device until a line is written, so that no step waits for the device.
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
    """Writes records of figures to log.jsonl and passes them on."""

    def __init__(self, path: Path, report: Report, writes: bool):
        """Store where records go.

        Args:
            path: of log.jsonl; its folder is created with the first record.
            report: receives each record.
            writes: False on processes other than the main one, which write nothing.
        """
        self._path, self._report, self._writes = path, report, writes

    def write(self, step: int, **figures: Any) -> None:
        """Append a record: the step and figures of it."""
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
        """Set all sums to zero and the clock to now, e.g. after an evaluation, whose time is not that of training."""
        self._loss = torch.zeros((), device=self._device)
        self._batches = self._images = self._mixed = 0
        self._waited = self._mixing = 0.0
        self._started = time.monotonic()

    def add_batch(self, batch: Batch, waited: float) -> None:
        """Count a batch for which the loop waited so many seconds."""
        self._waited += waited
        self._images += len(batch["labels"])
        self._mixed += batch["mixed"]
        self._mixing += batch["seconds"]

    def add_loss(self, loss: Tensor, step: int) -> None:
        """Add the loss of a batch of a step, counted from 0."""
        self._loss += loss
        self._batches += 1
        self._bad_step = torch.where((self._bad_step < 0) & ~torch.isfinite(loss), step, self._bad_step)

    @property
    def bad_step(self) -> int:
        """The first step whose loss was not finite, counted from 0; -1 if all were."""
        return int(self._bad_step)

    def figures(self, processes: int) -> dict[str, float]:
        """Return the figures since the last call, and restart.

        Args:
            processes: throughput is that of all of them.

        Returns:
            loss; images_per_second; data_wait, the share of time in which the loop waited for a batch; mixing, the
            seconds of second images and mixes (in whichever process) as a share of the time; mixed, the share of
            samples that were mixed.
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
