"""One bar for the whole run: the progress bars of `datasets` are off meanwhile, and as they were afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """No bars of `datasets` inside."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were: Callable[[], None] = disable_progress_bars if are_progress_bars_disabled() else enable_progress_bars
    disable_progress_bars()
    try:
        yield
    finally:
        were()
