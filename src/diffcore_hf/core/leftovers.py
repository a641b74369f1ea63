"""Leftovers: temporary files and folders whose writer has ended.

Owns the form of a temporary name and the removal of temporary files. A name contains the host, the process id and the
namespace of this id. So a process removes only leftovers of ended processes on its own host. Clocks are not compared,
because those of two machines can differ.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

_NAME = re.compile(r"\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>[0-9]+)\.(?:(?P<space>[0-9a-f]+)-)?[0-9a-f]{8}\.tmp$")
"""End of a temporary name. Names of earlier versions have no namespace."""


def temporary_name(path: Path) -> Path:
    """Return a new hidden name beside `path`, for a file that is renamed to `path` when it is complete.

    Several machines can write to one shared disk, and process ids repeat between machines and containers. So the name
    contains the host, the process id, the namespace of the process id and random bits.
    """
    unique = f"{_host()}.{os.getpid()}.{_namespace()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{unique}.tmp")


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files and folders below a folder whose writer has ended on this host; return their number.

    Files of running processes and of other hosts stay. So does a file that this process may not remove.
    """
    removed = 0
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            if name.endswith(".tmp") and is_leftover(name):
                remove(Path(parent, name))
                removed += 1
        folders[:] = [name for name in folders if not name.endswith(".tmp")]
    return removed


def is_leftover(name: str) -> bool:
    """Return whether this is a temporary name of a process of this host that has ended."""
    found = _NAME.search(name)
    return found is not None and is_of_this_host(name) and not is_running(int(found["pid"]))


def is_of_this_host(name: str) -> bool:
    """Return whether this is a temporary name of a process whose id can be checked on this host."""
    found = _NAME.search(name)
    return found is not None and found["host"] == _host() and found["space"] in (None, _namespace())


def remove(path: Path) -> None:
    """Remove a file or a folder. If it is missing or may not be removed, nothing happens."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def this_host() -> str:
    """Return a name of this host and of its namespace of process ids."""
    return f"{_host()}.{_namespace()}"


def _host() -> str:
    """Return the name of this host, in characters that a temporary name can contain."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32]


@cache
def _namespace() -> str:
    """Return the number of the namespace of process ids, in hexadecimal digits; 0 on systems without namespaces.

    Two containers can have the same host name but different namespaces. Their process ids are then not comparable.
    """
    try:
        link = os.readlink("/proc/self/ns/pid")
    except OSError:
        return "0"
    number = re.search(r"[0-9]+", link)
    return f"{int(number[0]):x}" if number else "0"


def is_running(pid: int) -> bool:
    """Return whether a process of this host and namespace runs."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # the process belongs to another user
        return True
    return True
