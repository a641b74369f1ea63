"""Tests of the page "Your own data": each folder tree on the page is read with the layout that the page states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_photos import picture
from source_folders import write

from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config.augment import SourceConfig

PAGE = Path(__file__).parents[2] / "docs" / "own-data.md"
TREES = re.findall(
    r"```text\n(photos/.*?)```\n\n`plan` prints `(.*?)`\.\n", PAGE.read_text(encoding="utf-8"), re.DOTALL
)
TABLE = b"id,breed\n001,pug\n002,husky\n003,pug\n004,husky\n"


def build(tree: str, root: Path) -> None:
    """Writes the files of an indented tree."""
    steps: list[str] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        steps[depth:] = [line.strip()]
        if not line.endswith("/"):
            content = TABLE if line.endswith(".csv") else picture(depth, len(list(root.rglob("*.jpg"))))
            write(root.joinpath(*(step.rstrip("/") for step in steps)), content)


def test_the_page_shows_five_trees():
    assert len(TREES) == 5


@pytest.mark.parametrize("tree, layout", TREES)
def test_a_tree_of_the_page_is_read_as_the_page_says(tmp_path, tree, layout):
    build(tree, tmp_path)
    source = load_source(SourceConfig(str(tmp_path / "photos")))
    assert source.layout == " ".join(layout.split())
    assert source.unread == ()
