"""Interruption: Ctrl-C and SIGTERM set a flag, which the loop checks between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_flag(enabled: bool) -> Iterator[threading.Event]:
    """Yield a flag that the first Ctrl-C or SIGTERM sets; a second Ctrl-C raises KeyboardInterrupt immediately.

    Args:
        enabled: False if several processes train together, because they would not stop after the same step. A signal
            then ends the process as usual, and the last checkpoint remains.
    """
    flag = threading.Event()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield flag
        return
    earlier_handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: Any) -> None:
        flag.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        for number in earlier_handlers:
            signal.signal(number, stop)
        yield flag
    finally:
        for number, handler in earlier_handlers.items():
            signal.signal(number, handler)
