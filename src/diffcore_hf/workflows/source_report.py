"""Writes the report of a source as a JSON file, for `plan --report`.

The figures are in augmentation/source/report.py, and the rule which file may be replaced is in report_files.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcore_hf.augmentation.source.report import SourceReport
from diffcore_hf.workflows import report_files
from diffcore_hf.workflows.report_files import ReportKind

KIND = ReportKind("--report", "a report of a source", "diffcore-hf source report 1")


def check_report_file(path: str | None) -> None:
    """Check that a report can be written to a path. An existing file is overwritten only if it is such a report.

    Raises:
        UserError: see `report_files.check_report_file`.
    """
    report_files.check_report_file(KIND, path)


def write_report(report: SourceReport, path: str, more: Mapping[str, Any] | None = None) -> None:
    """Write a report as a JSON file.

    Args:
        report: the report.
        path: the file.
        more: further keys and values.

    Raises:
        UserError: see `report_files.check_report_file`.
    """
    report_files.write_report_file(KIND, {**report.plain(), **(more or {})}, path)
