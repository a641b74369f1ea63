"""Memory: one budget for all images that the threads of this process decode at the same time.

A decoder needs up to 25 bytes a pixel while it works. So each thread reserves the memory of an image before it decodes
it, and waits while the other threads use too much. The budget does not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BUDGET = 870_000_000
"""Bytes that the images being decoded may take together. An image that needs more is not decoded."""


TRIMMED = 32_000_000
"""Number of bytes. After a reservation of more bytes, freed memory is returned to the operating system."""


class MemoryBudget:
    """A number of bytes that threads share. A thread that holds a reservation may make further ones inside it."""

    def __init__(self, total: int):
        self.total = total
        self._used = 0
        self._changed = threading.Condition()
        self._own = threading.local()

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Wait until `amount` bytes are free, and hold them until the block ends.

        A reservation inside another one of the same thread reserves nothing and does not wait. Otherwise, two threads
        that hold memory could wait for each other for ever. An amount above the total waits until no other thread holds
        memory.
        """
        if getattr(self._own, "holds", False):
            yield
            return
        amount = min(amount, self.total)
        with self._changed:
            self._changed.wait_for(lambda: self._used + amount <= self.total)
            self._used += amount
        self._own.holds = True
        try:
            yield
        finally:
            self._own.holds = False
            if amount > TRIMMED:
                _trim()
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


decoding = MemoryBudget(BUDGET)
"""The budget of this process."""


def _trim() -> None:
    """Return freed memory to the operating system. The allocator of Linux would keep it for each thread."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return the function of the C library; None on systems without it."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


def _renew() -> None:
    """Give a forked process its own budget, because threads of its parent may hold reservations."""
    decoding.__init__(decoding.total)  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
