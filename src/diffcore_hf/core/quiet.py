"""Switches the progress bars of `datasets` off while a run shows its own bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Switch the progress bars of `datasets` off inside the block and restore their state after it."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    restore: Callable[[], None] = disable_progress_bars if are_progress_bars_disabled() else enable_progress_bars
    disable_progress_bars()
    try:
        yield
    finally:
        restore()
