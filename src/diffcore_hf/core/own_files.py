"""Own files: the reading of small files that a run wrote into its output folder.

Owns the checks of the file and of its numbers. Because of a faulty disk or a mistake of a user, something else can have
the name of such a file. A pipe would block a reader for ever. A number such as 1e400 would raise an error when it is
used.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

MAX_BYTES = 2**28
"""Largest size of a small file. A larger file is damaged."""
_LARGEST_NUMBER = 2**64
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def read_own_file(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: the file cannot be opened, for example because it does not exist.
        ValueError: it is not a regular file, or it is too large.
    """
    handle = os.open(path, _FLAGS)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES // 2**20} MiB")
        return file.read()


def read_own_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. All its numbers are finite and below 2**64.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file does not contain such an object.
    """
    try:
        content = json.loads(read_own_file(path), parse_constant=_refuse, parse_float=_finite, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


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
