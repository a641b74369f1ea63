"""Measures stages of a program: the elapsed time and the CPU time of functions.

The time of a function does not contain the time in other measured functions that it calls.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Functions = Mapping[str, tuple[tuple[Any, str], ...]]
"""Name of each stage -> owner (a module or a class) and name of each of its functions."""


@dataclass
class StageTime:
    """Time in the functions of a stage, without the time in measured functions that they called."""

    elapsed: float = 0.0
    cpu: float = 0.0
    """CPU time in seconds of the threads that called the functions. Threads of a library are not counted."""


class Stages:
    """Replaces functions by functions that measure themselves.

    Args:
        functions: the functions of each stage.
    """

    def __init__(self, functions: Functions):
        self.times = {name: StageTime() for name in functions}
        self._local = threading.local()
        for name, owned in functions.items():
            for owner, function in owned:
                setattr(owner, function, self._measured(getattr(owner, function), self.times[name]))

    def copy(self) -> dict[str, StageTime]:
        """Returns the times of functions that have ended so far."""
        return {name: StageTime(used.elapsed, used.cpu) for name, used in self.times.items()}

    def _measured(self, function: Callable[..., Any], total: StageTime) -> Callable[..., Any]:
        @functools.wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            inner: list[StageTime] = self._local.__dict__.setdefault("inner", [])
            inner.append(StageTime())
            elapsed, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                elapsed, cpu = time.perf_counter() - elapsed, time.thread_time() - cpu
                called = inner.pop()
                total.elapsed += elapsed - called.elapsed
                total.cpu += cpu - called.cpu
                if inner:
                    inner[-1].elapsed += elapsed
                    inner[-1].cpu += cpu

        return measured
