"""Files of a model: the closed list of files that a library may read.

Owns which files are on the list: regular files with the names that the libraries use, inside the folder of the model or
inside the cache folder of its Hub repository. Checks their sizes. What JSON files and headers may contain is in
file_contents.py.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from diffcore_hf.core.errors import UserError

IDENTIFYING = (".safetensors", ".json", ".txt", ".model", ".jinja")
"""Endings of the files whose names and contents are the identity of a local folder."""
HANDED_NAME = re.compile(
    r"(?!adapter_config\.json)(\w*config|model_index|tokenizer|vocab|special_tokens_map|added_tokens|chat_template)\.json"
    r"|(vocab|merges)\.txt|[^/]+\.(model|jinja|safetensors|safetensors\.index\.json|safetensors\.index\.\w+\.json)"
)
"""Names of the files that are handed to a library. The configuration of an adapter can name another model, so it is
not one of them."""
MOST_FILES = 20_000
"""Largest number of files and folders below the folder of a model."""

_LARGEST = {".safetensors": 2**40, ".jinja": 2**20}
_LARGEST_CONFIG = 2**23
_LARGEST_OTHER = 2**26
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
_REMEDY = "Download the model again, or use another model"
_SPARSE_FROM = 2**30


def list_files(folder: Path, shown: str) -> dict[str, Path]:
    """Returns the files that identify a model: name relative to the folder -> path with all links resolved.

    Hidden files and folders, and folders that are links, are left out.

    Args:
        folder: folder of the model.
        shown: path of the model for errors.

    Raises:
        UserError: one of the files is not a regular file, is outside the folder, or is too large; or there are too
            many files.
    """
    roots = _roots(folder)
    return {
        name: _checked(path, name, roots, shown) for name, path in walk(folder, shown) if path.suffix in IDENTIFYING
    }


def handed_files(files: dict[str, Path]) -> dict[str, Path]:
    """Returns the files that may be handed to a library."""
    return {name: path for name, path in files.items() if HANDED_NAME.fullmatch(name.rpartition("/")[2])}


def check_file(path: Path, shown: str) -> None:
    """Checks a single file that a recipe names.

    Raises:
        UserError: it is not a regular file, or it is too large.
    """
    _check_state(path, path.name, shown)


def walk(folder: Path, shown: str) -> Iterator[tuple[str, Path]]:
    """Yields the name relative to the folder and the path of everything that is not hidden and not a folder.

    Raises:
        UserError: there are too many files.
    """
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        count += len(folders) + len(names)
        if count > MOST_FILES:
            raise UserError(f"{shown} contains more than {MOST_FILES:,} files. Give the folder of one model")
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(parent, name)
                yield path.relative_to(folder).as_posix(), path


def _roots(folder: Path) -> tuple[Path, ...]:
    """Returns the folders that may contain the files. A snapshot in the cache has links to files in `blobs`."""
    resolved = folder.resolve()
    if resolved.parent.name == "snapshots":
        return resolved, resolved.parent.parent / "blobs"
    return (resolved,)


def _checked(path: Path, name: str, roots: tuple[Path, ...], shown: str) -> Path:
    _check_state(path, name, shown)
    real = path.resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise UserError(f"{shown}: {name} is a link that leads out of the folder. Copy the file into the folder")
    return real


def _check_state(path: Path, name: str, shown: str) -> None:
    try:
        state = path.stat()
    except OSError:
        raise UserError(f"{shown}: {name} is a link to a file that does not exist. {_REMEDY}") from None
    if not stat.S_ISREG(state.st_mode):
        raise UserError(f"{shown}: {name} is not a regular file. {_REMEDY}")
    largest = _LARGEST.get(path.suffix, _LARGEST_OTHER)
    if path.suffix == ".json" and path.name not in _VOCABULARIES and HANDED_NAME.fullmatch(path.name):
        largest = _LARGEST_CONFIG
    if state.st_size > largest:
        raise UserError(
            f"{shown}: {name} has {state.st_size:,} bytes, more than {largest:,}, the largest size of such a file. "
            f"{_REMEDY}"
        )
    blocks = getattr(state, "st_blocks", 0) * 512
    if state.st_size > _SPARSE_FROM and 0 < blocks < state.st_size // 4:
        raise UserError(f"{shown}: {name} has {state.st_size:,} bytes, but most of them are not stored. {_REMEDY}")
