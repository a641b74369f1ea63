"""Row list: the file of row ids that `select.rows` names.

Owns the format of the file: one row id per line, or CSV with a column row_id. Does not know which rows exist.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass

from diffcore_hf.config.augment import SelectConfig
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.list_files import read_list_file

KEY = "select.rows"
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
    remedy = f"Use --{KEY} FILE, or leave it out"
    file = read_list_file(path, key=KEY, items="rows", remedy=remedy, max_bytes=MAX_BYTES)
    try:
        ids = _ids(file.text)
    except csv.Error as error:
        raise UserError(
            f"{KEY} {path} is not a valid CSV file ({innermost_cause(error)}). Write one row id per line"
        ) from error
    if not ids:
        raise UserError(f"{KEY} {path} lists no row. Write one row id per line, or leave {KEY} out")
    return RowList(tuple(dict.fromkeys(ids)), hashlib.sha256(file.content).hexdigest())


def row_list_identity(select: SelectConfig) -> str | None:
    """Return the digest of the file that `select.rows` names; None if it names none.

    Raises:
        UserError: see `read_row_list`.
    """
    return None if select.rows is None else read_row_list(select.rows).sha256


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
