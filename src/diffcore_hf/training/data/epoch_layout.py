"""The layout of an epoch: the row from which each sample is computed, and whether the sample is mixed.

Owns the three modes `off`, `append` and `replace`. Does not read rows (samples.py) or decide the order in which samples
are read (loader.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Mode = Literal["off", "append", "replace"]


@dataclass(frozen=True)
class EpochLayout:
    """Samples of one epoch over N training rows."""

    mode: Mode
    rows: np.ndarray
    """(S,) int64: the row of each sample."""
    mixed: Sequence[bool | None]
    """S values: whether each sample is mixed. None: it is drawn at random when the sample is computed."""
    has_partner: np.ndarray
    """(N,) bool: whether an image to mix with exists for each row."""

    def __len__(self) -> int:
        return len(self.rows)


def lay_out_epoch(mode: Mode, has_partner: np.ndarray) -> EpochLayout:
    """List the samples of an epoch.

    Args:
        mode: `off`: every row once, unmixed. `replace`: every row once, mixed at random. `append`: every row once,
            unmixed, then every row with a partner once more, mixed.
        has_partner: (N,) bool, whether an image to mix with exists for each row.
    """
    rows = np.arange(len(has_partner))
    mixed: list[bool | None] = [None if mode == "replace" else False] * len(rows)
    if mode == "append":
        appended = np.flatnonzero(has_partner)
        rows = np.concatenate([rows, appended])
        mixed += [True] * len(appended)
    return EpochLayout(mode, rows, mixed, has_partner)
