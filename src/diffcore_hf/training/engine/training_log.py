"""Figures of the log: loss, throughput, and where the time went.

Owns the sums between two lines of the log. Losses stay on the device until somebody looks, so that no step waits.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from diffcore_hf.training.data.loader import Batch


class Window:
    """Figures since the last line of the log."""

    def __init__(self, device: torch.device):
        self._bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._device = device
        self.restart()

    def restart(self) -> None:
        """Begin anew: what happened since the last line of the log was no training."""
        self._loss = torch.zeros((), device=self._device)
        self._batches = self._images = self._mixed = 0
        self._waited = self._mixing = 0.0
        self._began = time.monotonic()

    def read(self, batch: Batch, waited: float) -> None:
        """A batch arrived after so many seconds."""
        self._waited += waited
        self._images += len(batch["labels"])
        self._mixed += batch["mixed"]
        self._mixing += batch["seconds"]

    def lost(self, loss: Tensor, step: int) -> None:
        """The loss of a batch."""
        self._loss += loss
        self._batches += 1
        self._bad = torch.where((self._bad < 0) & ~torch.isfinite(loss), step, self._bad)

    @property
    def first_bad(self) -> int:
        """The first step whose loss was not finite, counted from 0; -1: none."""
        return int(self._bad)

    def figures(self, world: int) -> dict[str, float]:
        """Loss, throughput over all processes, and shares of time; a new window begins.

        data_wait: share of the time that the loop waited for a batch. mixing: seconds of second images and mixes, by
        whichever process did them, as a share of the time.
        """
        seconds = time.monotonic() - self._began
        found = {
            "loss": float(self._loss) / max(1, self._batches),
            "images_per_second": round(world * self._images / seconds, 1),
            "data_wait": round(self._waited / seconds, 4),
            "mixing": round(self._mixing / seconds, 4),
            "mixed": round(self._mixed / max(1, self._images), 4),
        }
        self.restart()
        return found
