"""Tests of CONTRIBUTING.md: the files and names in its table exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "diffcore_hf"
AT_THE_TOP = ("hub_cards/", "recipes/", "docs/", "tests/")
TABLE = [line for line in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
PATHS = sorted({path for line in TABLE for path in re.findall(r"`(\w+/[\w./]*)`", line)})
NAMES = sorted(
    {
        (name, path)
        for line in TABLE
        for names, path in re.findall(r"((?:`[\w.]+`(?:,| and in| and)? ?)+)\(`([\w./]+\.py)`\)", line)
        for name in re.findall(r"`([\w.]+)`", names)
    }
)


def place(path):
    return (ROOT if path.startswith(AT_THE_TOP) else PACKAGE) / path


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    assert place(path).exists()


@pytest.mark.parametrize(("name", "path"), NAMES, ids=lambda value: value)
def test_every_name_is_defined_in_its_file(name, path):
    for part in name.split("."):
        assert re.search(rf"\b(class|def) {part}\b|^\s*{part}\b.*[:=]", place(path).read_text("utf-8"), re.MULTILINE)
