"""Writes the report of a source as a JSON file, for `plan --report`.

Owns the file and the rule which file may be replaced. The figures are in augmentation/source/report.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from diffcore_hf.augmentation.source.report import SourceReport
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import write_atomic

FORMAT = "diffcore-hf source report 1"


def check_report_file(path: str | None) -> None:
    """Checks that a report can be written to a path. Only an earlier report is replaced.

    Raises:
        UserError: the path is a folder, or a file that is not a report.
    """
    if path is None or not Path(path).exists():
        return
    if not Path(path).is_file() or not _is_report(Path(path)):
        raise UserError(f"--report is {path}, which exists and is not a report of a source. Choose another file name")


def write_report(report: SourceReport, path: str) -> None:
    """Writes a report as a JSON file.

    Raises:
        UserError: see `check_report_file`.
    """
    check_report_file(path)
    content = {"format": FORMAT, **report.plain()}
    write_atomic(Path(path), (json.dumps(content, indent=2) + "\n").encode())


def _is_report(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT
