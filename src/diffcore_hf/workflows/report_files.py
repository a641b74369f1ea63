"""JSON files that a command writes at a path of the user.

An existing file is overwritten only if it is a report of the same kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import check_target, write_atomic


class ReportKind(NamedTuple):
    """A kind of report."""

    flag: str
    """The flag that names the file, for the error message."""
    noun: str
    """What the file is, for the error message: `a report of a source`."""
    format: str
    """Value of the first key of the file."""

    @property
    def start(self) -> bytes:
        """The first bytes of every report. A report can be large, so a file is recognised by them."""
        return f'{{\n  "format": "{self.format}",\n'.encode()


def check_report_file(kind: ReportKind, path: str | None) -> None:
    """Check that a report can be written to a path; None is accepted.

    Raises:
        UserError: the path is a folder, or a file that is not a report of this kind, or it is below a file.
    """
    if path is None:
        return
    if not path.strip() or "\0" in path:
        raise UserError(f"{kind.flag} is {path!r}, which is not a file name. Use e.g. {kind.flag} report.json")
    if os.path.lexists(path) and not _is_report(kind, Path(path)):
        raise UserError(f"{kind.flag} is {path}, which exists and is not {kind.noun}. Choose another file name")
    above = next(folder for folder in Path(path).absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise UserError(f"{kind.flag} is {path}, but {above} is not a folder. Choose another file name")
    try:
        check_target(Path(path))
    except UserError as error:
        raise UserError(f"{kind.flag}: {error}") from error


def write_report_file(kind: ReportKind, content: Mapping[str, Any], path: str) -> None:
    """Write a report.

    Raises:
        UserError: see `check_report_file`.
    """
    check_report_file(kind, path)
    write_atomic(Path(path), (json.dumps({"format": kind.format, **content}, indent=2) + "\n").encode())


def _is_report(kind: ReportKind, path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(kind.start)) == kind.start
