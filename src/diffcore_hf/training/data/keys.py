"""The key of a training sample. Its random draws depend only on the key and the seed."""

from __future__ import annotations

from typing import NamedTuple


class SampleKey(NamedTuple):
    """Identifies one sample of one epoch, independent of the batch, process or worker that reads it."""

    row_id: str
    epoch: int
    layout_index: int
    """Index in the layout of the epoch. The mixed and the unmixed sample of a row have different indices."""
