"""Memory: one budget for all images that the threads of this process decode at the same time.

A decoder needs up to 25 bytes a pixel while it works. So each thread reserves the memory of an image before it decodes
it, and waits while the others use too much. The budget does not depend on the number of threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

BUDGET = 900_000_000
"""Bytes that the images being decoded may take together. An image that needs more is not decoded."""


class MemoryBudget:
    """A number of bytes that threads share; a thread that holds a reservation may nest further ones."""

    def __init__(self, total: int):
        self.total = total
        self._used = 0
        self._changed = threading.Condition()
        self._own = threading.local()

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Wait until `amount` bytes are free, and hold them until the block ends.

        A nested reservation of the same thread takes nothing, because a thread that waits for others while it holds
        memory could wait for ever. An amount above the total waits until no other thread holds memory.
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
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


decoding = MemoryBudget(BUDGET)
"""The budget of this process."""


def _renew() -> None:
    """Give a forked process its own budget, because threads of its parent may hold reservations."""
    decoding.__init__(decoding.total)  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
