"""Reads recipe files, and lists the recipes in the package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from diffcore_hf.config.yaml_text import read_yaml
from diffcore_hf.core.errors import UserError

SUFFIXES = (".yaml", ".yml")
TRAIN_SUFFIX = "-train"
"""Ending of the names of shipped training recipes."""


def read_recipe_file(path: str | Path, first_line: str = "source: {path: ./photos}") -> Mapping[str, Any]:
    """Return the keys and values of a recipe file. Relative paths in it are relative to the current directory.

    Args:
        path: the file.
        first_line: an example of a first line, for the error message about a file without keys.

    Raises:
        UserError: the file cannot be read, is not valid YAML or contains no mapping.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. Give a recipe file or the name of a shipped recipe") from None
    try:
        values = read_yaml(content)
    except UserError as error:
        raise UserError(f"{path}: {error}. Correct the recipe file") from None
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path}: contains no keys of a recipe. Start it with e.g. {first_line}")
    return values


def shipped_files() -> dict[str, Path]:
    """Return a map from name to file of every recipe in the package, including training recipes."""
    try:
        entries = list(resources.files("diffcore_hf.recipes").iterdir())
    except ModuleNotFoundError:
        return {}
    return {entry.name[:-5]: Path(str(entry)) for entry in entries if entry.name.endswith(".yaml")}


def shipped_recipes() -> list[str]:
    """Return the names of the augmentation recipes in the package."""
    return sorted(name for name in shipped_files() if not name.endswith(TRAIN_SUFFIX))


def shipped_recipe(name: str) -> Path | None:
    """Return the file of the augmentation recipe with that name; None if the package has none."""
    return shipped_files()[name] if name in shipped_recipes() else None


def shipped_training_recipes() -> dict[str, Path]:
    """Return a map from name to file of the training recipes in the package; each name ends in `-train`."""
    return {name: path for name, path in sorted(shipped_files().items()) if name.endswith(TRAIN_SUFFIX)}
