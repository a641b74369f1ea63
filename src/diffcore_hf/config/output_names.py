"""The default output folder of a run."""

from __future__ import annotations

import re
from pathlib import Path

from diffcore_hf.config.augment import Recipe


def default_output(recipe: Recipe) -> str:
    """Return `out/<last part of source.path>`."""
    return f"out/{last_part(recipe.source.path)}"


def last_part(path: str) -> str:
    """Return the last part of a path or Hub id; characters other than letters, digits, `.`, `_` and `-` become `-`."""
    last = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    if last in ("", ".", ".."):
        last = Path(path).resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "dataset"
