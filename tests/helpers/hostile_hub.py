"""Functions that load sources from the Hub double, a local test server, with the real clients and their cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import small_photos


def write_photos(folder: Path) -> Path:
    """Write six photos of two classes."""
    return small_photos.write_photos(folder, [3, 3])


def zipped(folder: Path, target: Path) -> Path:
    """Return a folder with an archive of class folders, in which metadata.csv names the classes."""
    files = [file.relative_to(folder) for file in sorted(folder.rglob("*.*"))]
    lines = ["file_name,label", *(f"{file.as_posix()},{file.parent.name}" for file in files)]
    (folder / "metadata.csv").write_text("\n".join(lines))
    target.mkdir()
    shutil.make_archive(str(target / "photos"), "zip", folder)
    return target


def load(repo: str) -> dict[str, Any]:
    """Load a source. Return its hashes, its cells, and its rows as a run publishes them."""
    from diffcore_hf.augmentation.originals import original_rows
    from diffcore_hf.augmentation.source.dataset import load_source
    from diffcore_hf.config.augment import SourceConfig

    source = load_source(SourceConfig(path=repo))
    split = source.splits["train"]
    table = original_rows(split, range(len(split)), images=True, files=source.files)
    return {
        "sha256": source.sha256["train"],
        "cells": split.with_format("arrow")[:]["image"].to_pylist(),
        "reasons": list(source.unreadable["train"].values()),
        "names": [cell and cell["path"] for cell in table["image"].to_pylist()],
        "published": repr(table.to_pydict()).encode(),
    }


def reason(repo: str, path: str) -> str | None:
    """Return the reason why a cell of a repository must not name a file; None if the cell can be read."""
    from diffcore_hf.augmentation.source.dataset import load_source
    from diffcore_hf.config.augment import SourceConfig
    from diffcore_hf.core.images import UnreadableImage, read_bytes

    source = load_source(SourceConfig(path=repo))
    try:
        read_bytes({"bytes": None, "path": path}, source.files)
    except UnreadableImage as error:
        return str(error)
    return None
