"""Writes the report of a source as a JSON file, for `plan --report`.

Owns the file and the rule which file may be replaced. The figures are in augmentation/source/report.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from diffcore_hf.augmentation.source.report import SourceReport
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import write_atomic

FORMAT = "diffcore-hf source report 1"


_START = f'{{\n  "format": "{FORMAT}",\n'
"""The first characters of every report. A report can be large, so a file is recognised by them."""


def check_report_file(path: str | None) -> None:
    """Checks that a report can be written to a path. Only an earlier report is replaced.

    Raises:
        UserError: the path is a folder, or a file that is not a report, or it is below a file.
    """
    if path is None:
        return
    file = Path(path)
    if os.path.exists(path) and not _is_report(file):
        raise UserError(f"--report is {path}, which exists and is not a report of a source. Choose another file name")
    above = next(folder for folder in file.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise UserError(f"--report is {path}, but {above} is not a folder. Choose another file name")


def write_report(report: SourceReport, path: str) -> None:
    """Writes a report as a JSON file.

    Raises:
        UserError: see `check_report_file`.
    """
    check_report_file(path)
    content = {"format": FORMAT, **report.plain()}
    write_atomic(Path(path), (json.dumps(content, indent=2) + "\n").encode())


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_START)) == _START.encode()
