"""Locks between processes, on one machine or on a shared disk.

The operating system releases a lock when its process ends. So no process waits for one that died.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""Error numbers of a file system without locks."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Context in which this process holds a lock. Other processes wait; without locks of the file system they do not.

    Args:
        path: file of the lock. Its folder exists.
    """
    from filelock import FileLock

    lock = FileLock(str(path))
    try:
        lock.acquire()
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
