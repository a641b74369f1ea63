"""Signals that ask a run to stop: SIGINT, SIGTERM, SIGHUP and SIGUSR1.

Owns the handlers and the rule when a signal raises `Stopped`. Does not own what is saved after a signal.

Each step of a run states how many signals interrupt it (`interruptible`). The first signal interrupts the preparation
and the loading of models. The second signal interrupts a device batch. The third signal interrupts an export. The first
signal also starts a time limit (`grace`); at its end, all of these steps are interrupted. A step in `protected` is
always finished, because it is short and changes files.

Signals belong to the process, so the state is one object of this module. It is used only inside `handled`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

PREPARATION, BATCH, EXPORT = 1, 2, 3
"""How many signals interrupt a step of this kind."""
GRACE = 30.0
"""Default time in seconds from the first signal to the end of the export."""
SAME_SIGNAL = 0.1
"""Signals within this time in seconds are one signal. A terminal signals a process and its parent, and the parent
passes the signal on."""


class Stopped(KeyboardInterrupt):
    """Raised when a signal interrupts a step. The message is one line about what was saved, or empty."""

    def __init__(self, number: int, message: str = ""):
        super().__init__(message)
        self.number = number


@dataclass
class _State:
    """The signals that this process received."""

    active: bool = False
    """Whether the handlers are installed."""
    received: list[int] = field(default_factory=list)
    """Number of each signal, such as 15 for SIGTERM."""
    last: float = 0.0
    """Time of the last signal, of the monotonic clock."""
    grace: float | None = GRACE
    is_late: bool = False
    """Whether the time limit after the first signal (`grace`) is over."""
    interrupted_by: int | None = None
    """How many signals interrupt the current step; None: no signal interrupts it."""
    tell: Callable[[str], None] | None = None
    """Function that shows the user that a signal was received."""
    children: set[int] = field(default_factory=set)
    """Ids of the processes to which signals are passed on."""
    timer: threading.Timer | None = None


_state = _State()


def name_of(number: int) -> str:
    """Return the name of a signal, such as `SIGTERM`."""
    return signal.Signals(number).name


def requested() -> int | None:
    """Return the number of the first signal that was received, such as 15 for SIGTERM; None if there was none."""
    return _state.received[0] if _state.received else None


def received() -> tuple[int, ...]:
    """Return the numbers of all signals that were received, in their order."""
    return tuple(_state.received)


def exit_status(error: KeyboardInterrupt) -> int:
    """Return the exit status after an interruption: 128 plus the number of the signal."""
    return 128 + (error.number if isinstance(error, Stopped) else int(signal.SIGINT))


def deliver_again(number: int) -> None:
    """Send this process a signal that a run handled, so that the handler of the caller receives it.

    By default, SIGINT raises KeyboardInterrupt and the other signals end the process.
    """
    signal.raise_signal(number)


def check() -> None:
    """Raise `Stopped` if a signal was received."""
    if (number := requested()) is not None:
        raise Stopped(number)


@contextmanager
def handled(grace: float | None = GRACE, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Install the handlers, and restore the earlier handlers at the end.

    A signal that is ignored stays ignored, so that `nohup` works. In a thread that is not the main thread, nothing is
    installed. An inner context changes only `grace`.

    Args:
        grace: seconds from the first signal until all steps are interrupted; None: no limit.
        tell: function that is called with the name of the first signal, unless the signal raises at once. It runs in
            the handler, so it must not use buffered streams.
    """
    if _state.active or threading.current_thread() is not threading.main_thread():
        _state.grace = grace
        yield
        return
    earlier = {number: handler for number in _numbers() if (handler := _replaceable(number)) is not None}
    _reset(active=True, grace=grace, tell=tell)
    try:
        for number in earlier:
            signal.signal(number, _receive)
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        _reset(active=False)


@contextmanager
def interruptible(by: int) -> Iterator[None]:
    """Raise `Stopped` in the `with` block when `by` signals were received, or when the time limit `grace` is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier, _state.interrupted_by = _state.interrupted_by, by
    try:
        _raise_if_interrupted()
        yield
    finally:
        _state.interrupted_by = earlier
    _raise_if_interrupted()


@contextmanager
def protected() -> Iterator[None]:
    """Let no signal raise `Stopped` in the `with` block. After the block, a signal from inside it can raise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier, _state.interrupted_by = _state.interrupted_by, None
    try:
        yield
    finally:
        _state.interrupted_by = earlier
    _raise_if_interrupted()


def ignore() -> None:
    """Ignore the signals in this process, for a helper process whose parent handles them and ends it."""
    for number in _numbers():
        signal.signal(number, signal.SIG_IGN)


def silence(stream: Any) -> None:
    """Write nothing more to a stream whose reader has ended, such as a closed terminal or `tee` after Ctrl-C.

    Every write to it fails, so the progress bar would end the run before the export.
    """
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def passed_on(pid: int) -> Iterator[None]:
    """Send each signal of the `with` block to a child process too. Earlier signals are sent to it first."""
    _state.children.add(pid)
    for number in tuple(_state.received):
        with suppress(OSError):
            os.kill(pid, number)
    try:
        yield
    finally:
        _state.children.discard(pid)


@contextmanager
def unchanged_handlers() -> Iterator[None]:
    """Restore the handlers of the signals after the `with` block, because a library in it installs its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: handler for number in _numbers() if (handler := signal.getsignal(number)) is not None}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _numbers() -> list[int]:
    """Return the numbers of the signals that this platform has."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    return [int(getattr(signal, name)) for name in names if hasattr(signal, name)]


def _replaceable(number: int) -> Any:
    """Return the handler of a signal; None if the signal is ignored or its handler is not a Python object."""
    handler = signal.getsignal(number)
    return None if handler == signal.SIG_IGN else handler


def _reset(active: bool, grace: float | None = GRACE, tell: Callable[[str], None] | None = None) -> None:
    if _state.timer is not None:
        _state.timer.cancel()
    _state.active, _state.grace, _state.tell = active, grace, tell
    _state.received, _state.is_late, _state.interrupted_by, _state.timer = [], False, None, None


def _receive(number: int, frame: FrameType | None) -> None:
    """Count a signal, and raise `Stopped` if the current step is interrupted by it."""
    now = time.monotonic()
    is_repeated = bool(_state.received) and now - _state.last < SAME_SIGNAL
    if not is_repeated and not _state.is_late:
        _state.received.append(number)
        _state.last = now
        for pid in tuple(_state.children):
            with suppress(OSError):
                os.kill(pid, number)
    is_first = len(_state.received) == 1 and not is_repeated and not _state.is_late
    if is_first and _state.grace is not None:
        _state.timer = threading.Timer(_state.grace, _end_of_time, [number])
        _state.timer.daemon = True
        _state.timer.start()
    _raise_if_interrupted()
    if is_first and _state.tell is not None:
        _state.tell(name_of(number))


def _raise_if_interrupted() -> None:
    by = _state.interrupted_by
    if by is not None and _state.received and (_state.is_late or len(_state.received) >= by):
        raise Stopped(_state.received[0])


def _end_of_time(number: int) -> None:
    """Interrupt the main thread, because the time limit after the first signal (`grace`) is over."""
    _state.is_late = True
    # A real signal is sent, because it also ends a system call that waits.
    with suppress(OSError, AttributeError, ValueError):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
