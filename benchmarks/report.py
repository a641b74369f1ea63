"""Writes docs/performance.md by section: each benchmark replaces its own and keeps the others."""

from __future__ import annotations

import os
import platform
import statistics
import textwrap
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def paragraphs(*parts: str) -> str:
    """Joins tables and wrapped paragraphs with empty lines."""
    return "\n\n".join(part if part.startswith(("|", "- ")) else textwrap.fill(part, 120) for part in parts)


def settings(script: str, packages: Sequence[str]) -> str:
    """Returns the line below a table: date, command, machine and versions."""
    return (
        f"Measured on {date.today()} by `python -m benchmarks.{script}`: {os.cpu_count()} cores "
        f"({platform.machine()}), Python {platform.python_version()}, " + ", ".join(map(_version, packages)) + "."
    )


def numbers(text: str) -> tuple[int, ...]:
    """Parses an option of several whole numbers: `16,32`."""
    return tuple(int(part) for part in text.split(","))


def words(text: str) -> tuple[str, ...]:
    """Parses an option of several words: `0,memory`."""
    return tuple(text.split(","))


def spread(values: Sequence[float], form: str) -> str:
    """Returns the median, with the lowest and the highest value in brackets."""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def write_section(path: Path, title: str, text: str) -> None:
    """Replaces the section `## title` of a Markdown file; a new section is added at the end."""
    old = path.read_text(encoding="utf-8") if path.is_file() else f"# {path.stem.capitalize()}\n"
    opening, *sections = old.split("\n## ")
    by_title = {section.partition("\n")[0].strip(): section.rstrip() for section in sections}
    by_title[title] = f"{title}\n\n{text.strip()}"
    path.write_text("\n\n## ".join([opening.rstrip(), *by_title.values()]) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
