"""The key of a training sample, from which its random draws follow."""

from __future__ import annotations

from typing import NamedTuple


class SampleKey(NamedTuple):
    """Names one sample of one epoch, whatever batch, process or worker it is read by."""

    row_id: str
    epoch: int
    place: int
    """Index in the epoch's layout: it tells the clean sample of a row from the mixed one."""
