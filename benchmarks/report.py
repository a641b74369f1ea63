"""Formats the results of the benchmarks and writes them into a Markdown page, such as docs/performance.md.

Each benchmark replaces its own section of the page. The other sections are kept.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import textwrap
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def paragraphs(*blocks: str) -> str:
    """Joins blocks with empty lines. Tables and lists are not changed, and other text is wrapped."""
    return "\n\n".join(block if block.startswith(("|", "- ")) else _wrapped(block) for block in blocks)


def _wrapped(text: str) -> str:
    """Wraps a paragraph at 120 characters; code in backticks stays on one line."""
    joined = re.sub(r"`[^`\n]{,110}`", lambda code: code[0].replace(" ", "\0"), text)
    return textwrap.fill(joined, 120, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def settings(script: str, packages: Sequence[str]) -> str:
    """Returns the sentence below a table, which names the date, the command, the machine and the versions."""
    return (
        f"Measured on {date.today()} by `python -m benchmarks.{script}`: {os.cpu_count()} cores "
        f"({platform.machine()}), Python {platform.python_version()}, " + ", ".join(map(_version, packages)) + "."
    )


def numbers(text: str) -> tuple[int, ...]:
    """Parses an option of several whole numbers, such as `16,32`."""
    return tuple(int(number) for number in text.split(","))


def words(text: str) -> tuple[str, ...]:
    """Parses an option of several words, such as `0,memory`."""
    return tuple(text.split(","))


def spread(values: Sequence[float], form: str) -> str:
    """Returns the median, with the lowest and the highest value in parentheses."""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def write_section(path: Path, title: str, text: str) -> None:
    """Replaces the section `## title` of a Markdown file. If there is no such section, it is added at the end."""
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
