"""Tests of docs/architecture.md: its table names every package, every folder of a package, and the modules of core."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "diffcore_hf"
PACKAGES = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_table_names_every_package_and_its_folders(package):
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{package.name}/` |"))
    folders = [path.parent.name for path in package.glob("*/__init__.py")]
    assert [name for name in folders if f"`{name}/`" not in row and f"{package.name}/{name}" not in row] == []


def test_the_table_names_every_module_of_core():
    row = next(line for line in TEXT.splitlines() if line.startswith("| `core/` |"))
    names = [path.stem for path in (PACKAGE / "core").glob("*.py") if path.stem != "__init__"]
    assert [name for name in names if f"`{name}`" not in row] == []
