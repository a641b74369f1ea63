"""Row list: the file of row ids that `select.rows` names.

Owns the format of the file: one row id a line, or CSV with a column row_id. Does not know which rows exist.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import dataclass

from diffcore_hf.core.errors import UserError, innermost_cause

MAX_BYTES = 2**28
"""Largest size of the file. A line has about 25 bytes, so it lists 10 million rows."""
COLUMN = "row_id"


@dataclass(frozen=True)
class RowList:
    """The row ids in a file, and the digest of its bytes."""

    ids: tuple[str, ...]
    """The ids in the order of the file, each once."""
    sha256: str


def read_row_list(path: str) -> RowList:
    """Read a file of row ids.

    Raises:
        UserError: it is not a file, is too large, is not UTF-8 text or not valid CSV, or lists no row.
    """
    if not os.path.isfile(path):  # Path.is_file raises an error for a name that is too long
        raise UserError(f"select.rows is {path}, which is not a file. Use --select.rows FILE, or leave it out")
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"select.rows {path} has more than {MAX_BYTES // 2**20} MiB. List fewer rows")
    try:
        ids = _ids(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(
            f"select.rows {path} is not UTF-8 text ({innermost_cause(error)}). Save it as text in UTF-8"
        ) from error
    except csv.Error as error:
        raise UserError(
            f"select.rows {path} is not a valid CSV file ({innermost_cause(error)}). Write one row id a line"
        ) from error
    if not ids:
        raise UserError(f"select.rows {path} lists no row. Write one row id a line, or leave select.rows out")
    return RowList(tuple(dict.fromkeys(ids)), hashlib.sha256(content).hexdigest())


def _ids(text: str) -> list[str]:
    """Return the ids of a text. The first line decides whether it is CSV with a header."""
    first = text.partition("\n")[0]
    if COLUMN in [name.strip().strip('"') for name in first.split(",")]:
        reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
        column = next(name for name in reader.fieldnames or () if name.strip() == COLUMN)
        values = [row[column] or "" for row in reader]
    else:
        values = text.splitlines()
    return [value.strip() for value in values if value.strip()]
