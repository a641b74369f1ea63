"""Interruption: Ctrl-C and SIGTERM as a wish that is granted between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_flag(wanted: bool) -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM, so that a step is finished; a second Ctrl-C stops at once.

    Where processes must agree on each step, a signal stops them at once: their last checkpoint stays.
    """
    flag = threading.Event()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield flag
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: Any) -> None:
        flag.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        for number in old:
            signal.signal(number, stop)
        yield flag
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
