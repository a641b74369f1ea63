"""Locks between processes, on one machine or on a shared disk.

The operating system releases a lock when its process ends. So no process waits for one that died.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""Error numbers of a file system without locks."""


WAIT_SECONDS = 0.5
"""Time between two calls of `may_wait`."""


@contextmanager
def locked(path: Path, may_wait: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Context in which this process holds a lock, and other processes wait.

    On a file system without locks, no process waits.

    Args:
        path: file of the lock. Its folder exists.
        may_wait: function that is called while another process holds the lock. If it returns false, this process
            continues without the lock, for example because the other process does not work any more.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(str(path))
    while not lock.is_locked:
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout:
            if not may_wait():
                break
        except NotImplementedError:
            break
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            break
    try:
        yield
    finally:
        lock.release()
