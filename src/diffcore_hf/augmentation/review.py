"""Review: a reviewer's verdicts on attempts, read from a CSV file.

Owns the format of the file. method/checks.py has the rule that says which decisions a verdict overrides.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.schema import AttemptKey

COLUMNS = ("row_id", "copy", "attempt", "verdict")


@dataclass(frozen=True)
class Review:
    """The verdicts in a file, and the digest of its bytes."""

    verdicts: Mapping[AttemptKey, bool] = field(default_factory=dict)
    """Map (row id, copy, attempt) -> true for `accept`, false for `reject`."""
    sha256: str | None = None
    """Hex digest of the file; None if there is no file."""


def read_review(path: str | None) -> Review:
    """Read a CSV file with the columns row_id, copy, attempt, verdict (accept or reject) and note.

    Raises:
        UserError: the file does not exist, is not UTF-8 text or lacks a column, or a value in a line is not valid.
    """
    if path is None:
        return Review()
    if not Path(path).is_file():
        raise UserError(f"review is {path}, which is not a file. Use --review FILE.csv, or leave it out")
    content = Path(path).read_bytes()
    try:
        verdicts = _verdicts(path, content)
    except csv.Error as error:  # such as a field of 131,072 characters after an unpaired quotation mark
        raise UserError(
            f"review {path} is not a valid CSV file ({innermost_cause(error)}). Save it as CSV again"
        ) from error
    return Review(verdicts, hashlib.sha256(content).hexdigest())


def _verdicts(path: str, content: bytes) -> dict[AttemptKey, bool]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"review {path} is not UTF-8 text ({innermost_cause(error)}). Save it as CSV in UTF-8"
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = set(COLUMNS) - set(reader.fieldnames or ())
    if missing:
        raise UserError(
            f"review {path} has no column {', '.join(sorted(missing))}; it must have row_id,copy,attempt,verdict"
        )
    verdicts: dict[AttemptKey, bool] = {}
    for line, row in enumerate(reader, start=2):
        verdict = (row["verdict"] or "").strip().lower()
        try:
            key = (row["row_id"].strip(), int(row["copy"]), int(row["attempt"]))
        except (TypeError, ValueError, AttributeError):
            raise UserError(
                f"review {path}, line {line}: copy and attempt must be whole numbers, not "
                f"{row['copy']!r} and {row['attempt']!r}"
            ) from None
        if verdict not in ("accept", "reject"):
            raise UserError(f"review {path}, line {line}: verdict is {verdict!r}. Write accept or reject")
        verdicts[key] = verdict == "accept"
    return verdicts
