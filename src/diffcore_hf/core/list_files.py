"""List files: text files that a key of a recipe names, such as a list of rows or of contexts.

Owns the largest size, the encoding and their errors. Does not know what a line means.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from diffcore_hf.core.errors import UserError, innermost_cause


@dataclass(frozen=True)
class ListFile:
    """The content of a text file."""

    text: str
    """The decoded text without a byte order mark. Line ends are those of the file."""
    content: bytes


def read_list_file(path: str, *, key: str, items: str, remedy: str, max_bytes: int) -> ListFile:
    """Read a text file in UTF-8.

    Args:
        path: value of the key.
        key: key of the recipe that names the file, for the errors.
        items: plural noun for the lines, for the errors.
        remedy: sentence for a path that is not a file.
        max_bytes: largest size of the file.

    Raises:
        UserError: it is not a regular file, is too large, or is not UTF-8 text.
    """
    if not os.path.isfile(path):  # Path.is_file raises an error for a name that is too long
        raise UserError(f"{key} is {path}, which is not a file. {remedy}")
    try:
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UserError(f"{key} {path} cannot be read ({innermost_cause(error)}). Make it readable") from error
    if len(content) > max_bytes:
        raise UserError(f"{key} {path} has more than {max_bytes // 2**20} MiB. List fewer {items}")
    if b"\0" in content:  # also UTF-16 and UTF-32, of which every second byte can be 0
        raise UserError(f"{key} {path} has a byte 0, so it is no text in UTF-8. Save it as text in UTF-8")
    try:
        return ListFile(content.decode("utf-8-sig"), content)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{key} {path} is not UTF-8 text ({innermost_cause(error)}). Save it as text in UTF-8"
        ) from error
