"""Interruption: a signal (core/signals.py) is recorded, and the loop checks it between two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diffcore_hf.core import signals


@contextmanager
def stop_signal(enabled: bool) -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the number of the first signal, or None. A second signal raises `Stopped` at once.

    Args:
        enabled: False if several processes train together, because they would not stop after the same step. A signal
            then ends the process as usual, and the last checkpoint remains.
    """
    if not enabled:
        yield lambda: None
        return
    with signals.handled(grace=None), signals.interruptible(signals.BATCH):
        yield signals.requested
