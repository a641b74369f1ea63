"""Own files: the reading of small files that a run wrote into its output folder.

Owns the checks of the file, and of the numbers and the depth of its JSON. Such a file can have another content than a
run wrote, for example after a fault of the disk, after a mistake of a user, or in a dataset of an unknown author. A
pipe in its place would block a reader for ever. A number such as 1e400, or JSON with a thousand levels, would raise an
error when it is used.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

MAX_BYTES = 2**28
"""Largest size of a small file. A larger file is damaged."""
_LARGEST_NUMBER = 2**64
_LEVELS, _VALUES = 100, 2_000_000
"""Largest number of levels of nested lists and objects, and largest number of values in one level."""
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def read_own_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file of at most `max_bytes`.

    Raises:
        OSError: the file cannot be opened, for example because it does not exist.
        ValueError: it is not a regular file, or it is too large.
    """
    handle = os.open(path, _FLAGS)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_size > max_bytes:
            raise ValueError(f"it has more than {max_bytes // 2**20} MiB")
        return file.read()


def read_own_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. All its numbers are finite and below 2**64.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file does not contain such an object.
    """
    content = parse_json(read_own_file(path))
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def parse_json(content: bytes | str) -> Any:
    """Return the value that a JSON text contains. All its numbers are finite and below 2**64.

    Raises:
        ValueError: the text does not contain such a value.
    """
    try:
        value = json.loads(content, parse_constant=_refuse, parse_float=_finite, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Check that lists and objects are not nested too deeply, before recursive code reads them.

    Raises:
        ValueError: there are too many levels, or too many values in one level. A list that contains itself has no last
            level. In YAML, references to one list can give billions of values.
    """
    level = [value]
    for _ in range(_LEVELS):
        level = list(islice(chain.from_iterable(map(_children, level)), _VALUES + 1))
        if len(level) > _VALUES:
            raise ValueError("there are too many values")
        if not level:
            return
    raise ValueError("the values are nested too deeply")


def _children(value: Any) -> Iterable[Any]:
    """Return the values in a list or an object; () for any other value."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or abs(number) >= _LARGEST_NUMBER:
        raise ValueError(f"{text} is too large")
    return number


def _integer(text: str) -> int:
    number = int(text)
    if abs(number) >= _LARGEST_NUMBER:
        raise ValueError("a number is too large")
    return number
