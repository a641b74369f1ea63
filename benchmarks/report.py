"""docs/performance.md, section by section: each benchmark writes its own and leaves the others as they are."""

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
    """Rows as a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def paragraphs(*parts: str) -> str:
    """Tables as they are and lines of text, wrapped, with empty lines between."""
    return "\n\n".join(part if part.startswith("|") else textwrap.fill(part, 120) for part in parts)


def settings(script: str, packages: Sequence[str]) -> str:
    """The line below a table: when, by what command, on what machine, with which versions."""
    return (
        f"Measured on {date.today()} by `python -m benchmarks.{script}`: {os.cpu_count()} cores "
        f"({platform.machine()}), Python {platform.python_version()}, " + ", ".join(map(_version, packages)) + "."
    )


def numbers(text: str) -> tuple[int, ...]:
    """An option of several whole numbers: `16,32`."""
    return tuple(int(part) for part in text.split(","))


def words(text: str) -> tuple[str, ...]:
    """An option of several words: `0,memory`."""
    return tuple(text.split(","))


def spread(values: Sequence[float], form: str) -> str:
    """The median, with the lowest and the highest in brackets."""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def write_section(path: Path, title: str, text: str) -> None:
    """Put `text` under `## title` of a Markdown file, in place of what stands there; a new section goes to the end."""
    old = path.read_text(encoding="utf-8") if path.is_file() else f"# {path.stem.capitalize()}\n"
    opening, *sections = old.split("\n## ")
    found = {section.partition("\n")[0].strip(): section.rstrip() for section in sections}
    found[title] = f"{title}\n\n{text.strip()}"
    path.write_text("\n\n## ".join([opening.rstrip(), *found.values()]) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
