"""Errors that a user can correct, and the causes of exceptions.

An exception that is neither a UserError nor a fault of the machine keeps its traceback (commands/errors.py).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

ENVIRONMENT = frozenset(
    {
        errno.EACCES,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOLCK,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
    }
)
"""Error numbers of faults of the machine: disk, quota, permissions, memory, limits on open files."""


class UserError(ValueError):
    """Raised for an error that a user can correct; the message is one line with the value and a remedy that works.

    If user input causes an exception in a library, the code that calls the library wraps it in this class, with its
    innermost cause in the message.
    """


def environment_fault(error: BaseException) -> OSError | None:
    """Search an exception and its causes for an OSError that is a fault of the machine, such as a full disk."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in ENVIRONMENT:
            return cause
    return None


def innermost_cause(error: BaseException) -> str:
    """Return type and first line of the innermost cause of an exception, such as `OSError: No such file`.

    The second line is taken if the first is a heading, such as `Error(s) in loading state_dict for CLIPModel:`.
    """
    *_, cause = _causes(error)
    lines = str(cause).strip().splitlines()
    if len(lines) > 1 and lines[0].endswith(":"):
        lines = lines[1:]
    return f"{type(cause).__name__}: {lines[0].strip()[:200]}" if lines else type(cause).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception and the causes that it was raised from, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__
