"""Tests of the link checker, and of all links of this repository."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def check_links():
    spec = importlib.util.spec_from_file_location("check_links", ROOT / "docs/_build/check_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_link_of_the_repository_has_a_target(check_links, capsys):
    assert check_links.main([]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](page.md)", []),
        ("[a](page.md#two-words)", []),
        ("[a](#here)\n\n# Here", []),
        ("[a](https://example.org/x)", []),
        ("`[a](gone.md)`", []),
        ("```\n[a](gone.md)\n```", []),
        ("[a](gone.md)", ["gone.md: no such file"]),
        ("![a](gone.png)", ["gone.png: no such file"]),
        ("[a](page.md#three)", ["page.md#three: no such heading"]),
    ],
)
def test_a_broken_link_is_reported(check_links, tmp_path, monkeypatch, text, broken):
    monkeypatch.setattr(check_links, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text("# Two `words`\n")
    (tmp_path / "index.md").write_text(text)
    assert [line.partition(": ")[2] for line in check_links.broken_links(tmp_path / "index.md")] == broken
