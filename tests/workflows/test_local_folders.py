"""Tests of runs on each layout of a local folder: only the photos of the folder are published, with unchanged bytes."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from datasets import Image, load_dataset
from run_folders import go
from small_photos import picture
from source_folders import write, write_images

from diffcore_hf.workflows.verify import verify

CANARY = b"CANARY-7f3a"


def class_folders(base: Path) -> dict:
    return {"path": str(write_images(base / "photos", "cat", "dog", count=3))}


def links_outside(base: Path) -> dict:
    write_images(base / "archive", "dog", count=3)
    root = write_images(base / "photos", "cat", count=3)
    (root / "dog").symlink_to(base / "archive/dog")
    return {"path": str(root), "follow_links": "outside"}


def table(base: Path) -> dict:
    """Writes a table of six photos and two other rows: a secret file outside of the folder, and a missing photo."""
    root = write_images(base / "photos", *(f"{number}.jpg" for number in range(6)))
    lines = [f"{number}.jpg,{'cat' if number < 3 else 'dog'}" for number in range(6)]
    write(root / "train.csv", "\n".join(["file,breed", *lines, "../secret.jpg,cat", "nowhere.jpg,dog"]).encode())
    return {"path": str(root), "table": "train.csv"}


def archive(base: Path) -> dict:
    root = write_images(base / "unpacked", "cat", "dog", count=3)
    with zipfile.ZipFile(base / "photos.zip", "w") as packed:
        for path in sorted(root.rglob("*.jpg")):
            packed.write(path, path.relative_to(root))
    return {"path": str(base / "photos.zip")}


@pytest.mark.parametrize("layout", [class_folders, links_outside, table, archive])
def test_a_run_publishes_the_photos_of_a_folder(make, tmp_path, layout):
    secret = picture(0, 0) + CANARY
    write(tmp_path / "secret.jpg", secret)
    result = go(make(tmp_path / "out", source=layout(tmp_path), **{"filter.references": 2}))
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    cells = rows.cast_column("image", Image(decode=False))["image"]
    published = {hashlib.sha256(cell["bytes"]).hexdigest() for cell in cells if cell}
    expected = {hashlib.sha256(picture(number % 6, number)).hexdigest() for number in range(6)}
    if layout is not links_outside:
        assert published == expected
    assert len(published) >= 3
    assert len(rows) == (8 if layout is table else 6)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert CANARY not in path.read_bytes()
            assert str(tmp_path / "secret.jpg").encode() not in path.read_bytes()
    assert result.summary.counts["rows"] == len(rows)
    assert verify(str(tmp_path / "out")) == []
