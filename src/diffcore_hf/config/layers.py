"""Layers: the input of a user (WHAT, --config, keywords in Python) as plain mappings, before they are merged."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from diffcore_hf.config.augment_schema import AUGMENT_SCHEMA
from diffcore_hf.config.fields import join
from diffcore_hf.config.merging import as_sections
from diffcore_hf.config.recipe_files import (
    SUFFIXES,
    TRAIN_SUFFIX,
    read_recipe_file,
    shipped_recipe,
    shipped_recipes,
    shipped_training_recipes,
)
from diffcore_hf.core.errors import UserError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def positional_layer(what: str) -> Mapping[str, Any]:
    """Return the layer for WHAT, the positional argument of the command line.

    WHAT is the first of these that exists:
        1. a file: a zip or tar file is a source, another file is a recipe;
        2. a folder, which is a source;
        3. a shipped recipe of that name;
        4. a dataset on the Hub, if the text has the form `org/name`.

    Raises:
        UserError: `what` is none of these.
    """
    path, kind = Path(what), _path_kind(what)
    if kind == "file" and path.name.lower().endswith(ARCHIVE_SUFFIXES):
        return {"source": {"path": what}}
    if kind == "file" and path.suffix not in SUFFIXES:
        raise UserError(
            f"{what!r} is a file, not a recipe (.yaml) or an archive. For data files give their folder, or "
            "--source.path and --source.data_files. For a table give the folder of the photos and --source.table"
        )
    if kind == "file":
        return read_recipe_file(path)
    if kind == "folder":
        return {"source": {"path": what}}
    if shipped := shipped_recipe(what):
        return read_recipe_file(shipped)
    if HUB_ID.fullmatch(what) and path.suffix not in SUFFIXES and "--" not in what and ".." not in what:
        return {"source": {"path": what}}
    names = shipped_recipes()
    near = difflib.get_close_matches(what, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"the shipped recipes are {', '.join(names)}"
    raise UserError(f"{what!r} is not a file, a folder, a Hub id (org/name) or a shipped recipe; {hint}")


def config_layer(config: str) -> Mapping[str, Any]:
    """Return the layer for --config of a training: an existing file, else a shipped training recipe.

    Raises:
        UserError: neither of them exists, or the file is not a recipe.
    """
    path, shipped, kind = Path(config), shipped_training_recipes(), _path_kind(config)
    if kind == "file" and path.suffix in SUFFIXES:
        return read_recipe_file(path, first_line="data: {path: out/photos}")
    if config in shipped:
        return read_recipe_file(shipped[config])
    if kind:
        raise UserError(f"config is {config!r}, a {kind}, not a recipe (.yaml). For data use --data.path {config}")
    name = path.stem
    expected = f"{name}{TRAIN_SUFFIX}"
    near = [expected] if expected in shipped else difflib.get_close_matches(name, shipped, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the shipped recipes are {', '.join(shipped)}"
    raise UserError(f"config is {config!r}, neither a file nor a shipped training recipe; {hint}")


def keywords_layer(**keywords: Any) -> Mapping[str, Any]:
    """Return the layer for keywords in Python. They are keys of the recipe, dotted or nested in mappings.

    `split` means `source.split`.

    Raises:
        UserError: a key is given twice, or a dotted key names a key inside a value that has no keys.
    """
    layer: dict[str, Any] = {}
    for key, value in keywords.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        *path, last = ("source.split" if key == "split" else key).split(".")
        nested: dict[str, Any] = {last: value}
        for name in reversed(path):
            nested = {name: nested}
        layer = _combine(layer, as_sections(AUGMENT_SCHEMA, AUGMENT_SCHEMA.recipe, nested), "")
    return layer


def _path_kind(text: str) -> Literal["file", "folder"] | None:
    """Return `file` or `folder` if one exists at that path, else None."""
    path = Path(text)
    try:
        if path.is_file():
            return "file"
        return "folder" if text and path.is_dir() else None
    except (OSError, ValueError):  # the text is too long for a path or has a null byte
        return None


def _combine(a: Mapping[str, Any], b: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Merge two mappings. A value that both give raises UserError."""
    result = dict(a)
    for key, value in b.items():
        dotted_key = join(path, key)
        if key in result and not (isinstance(result[key], Mapping) and isinstance(value, Mapping)):
            raise UserError(f"{dotted_key} is given twice, as {result[key]!r} and {value!r}. Leave one out")
        result[key] = _combine(result[key], value, dotted_key) if key in result else value
    return result
