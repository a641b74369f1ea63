"""Errors that a user can correct, and the causes of exceptions.

An exception that is neither a UserError nor a fault of the machine keeps its traceback (commands/errors.py).
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

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
"""Error numbers of faults of the machine, such as a full disk, a missing permission or too many open files."""

VALUE_FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Types of the exceptions that Python and pyarrow raise for a value of an unexpected type or size. Only the checks of a
published dataset catch them, because another person can have changed any of its values."""


class UserError(ValueError):
    """Raised for an error that a user can correct. The message is one line with the value and a remedy that works.

    If user input causes an exception in a library, the code that calls the library wraps it in this class, with its
    innermost cause in the message.
    """


def environment_fault(error: BaseException) -> OSError | None:
    """Return the OSError among an exception and its causes that is a fault of the machine; None if there is none."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in ENVIRONMENT:
            return cause
    return None


def innermost_cause(error: BaseException, longest: int = 200) -> str:
    """Return the message of the innermost cause of an exception, such as `No such file or directory: 'x'`.

    An exception without a message is described by the meaning of its type. If this meaning is not known, the text names
    the line of code that raised the exception. A library can raise the cause while it handles an earlier exception. The
    message of the earlier exception then follows in parentheses, because it often describes the fault itself.
    """
    causes = list(_causes(error))
    text = next((text for cause in reversed(causes) if (text := _message(cause))), "")
    handled = _handled(causes[-1])
    if not text:
        return _cut(handled or _type_in_words(causes[-1]), longest)
    if not handled or handled in text:
        return _cut(text, longest)
    return f"{_cut(text, longest - longest // 3)} ({_cut(handled, longest // 3)})"


def _handled(error: BaseException) -> str:
    """Return the message of the first of the exceptions that were being handled when `error` was raised; "" if none.

    A failed lookup or import is left out: libraries use them to decide what to try next.
    """
    text = ""
    seen = {id(error)}
    following = None if error.__suppress_context__ else error.__context__
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        error = following
        following = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if not isinstance(error, (LookupError, AttributeError, ImportError, StopIteration)):
            text = _message(error) or text
    return text


def _cut(text: str, longest: int) -> str:
    """Return a text with at most `longest` characters; the end of a longer one is replaced by three dots."""
    return text if len(text) <= longest else f"{text[: longest - 3].rstrip()}..."


_OBJECT = re.compile(r" ?<[^<>]* object at 0x[0-9a-f]+>")
_TYPES = {
    "MemoryError": "not enough memory",
    "TimeoutError": "no answer within the time limit",
    "EOFError": "the data end too early",
    "StopIteration": "no further item",
    "RecursionError": "the data are nested too deeply",
    "NotImplementedError": "this library does not support it",
    "UnidentifiedImageError": "no image in a known format",
    "DecompressionBombError": "an image with too many pixels",
    "KeyboardInterrupt": "interrupted",
}
"""Name of an exception type -> its meaning, for exceptions without a message."""


def _message(error: BaseException) -> str:
    """Return the first informative line of the message of an exception; "" if the message is empty.

    If the first line is a heading that ends with a colon, the second line is returned.
    """
    if isinstance(error, KeyError) and len(error.args) == 1 and not _is_sentence(error.args[0]):
        return f"the key {error.args[0]!r} is missing"
    if isinstance(error, OSError) and error.strerror:
        names = [repr(str(name)) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([error.strerror, *names])
    content = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = [line.strip() for line in _OBJECT.sub("", str(content)).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines = lines[1:]
    if not lines:
        return ""
    if _is_sentence(lines[0]):
        # `datasets` prints two schemas between a failure and its reason.
        reason = lines[-1] if len(lines) > 1 and lines[-1].startswith("because ") else ""
        return f"{lines[0]} {reason}".rstrip()
    return f"{_words_of(type(error).__name__)}: {lines[0]}"


def _is_sentence(text: object) -> bool:
    """Return whether a text has at least two words, so that it can be understood without the type of its exception."""
    return isinstance(text, str) and len(text.split()) > 1


def _type_in_words(error: BaseException) -> str:
    """Return the meaning of an exception without a message, and where the library raised it."""
    known = next((_TYPES[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _TYPES), "")
    if known:
        return known
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    code = f": {frames[-1].line}" if frames and frames[-1].line else ""
    return f"{_words_of(type(error).__name__)} without a message{place}{code}"


def _words_of(type_name: str) -> str:
    """Return the name of a type as words: `ReadTimeout` -> `read timeout`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", type_name).lower()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception and the causes that it was raised from, the innermost last.

    Only the first exception of a group is followed.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        following = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = error.__cause__ or following
