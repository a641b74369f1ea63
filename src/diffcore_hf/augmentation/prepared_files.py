"""Prepared files: the files of a finished preparation of the strategy, such as learned tokens, and their hashes.

Owns the list of the files with their hashes, which marks a preparation as finished, and its comparison with the files.
Does not own the path of the folder (ledger.py), the content of the files (generation/), or the entry in run.json
(preparations.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.folder import canonical_json, file_sha256, write_atomic
from diffcore_hf.core.manifest import is_file_path
from diffcore_hf.core.own_files import read_own_json
from diffcore_hf.core.terminal_text import visible

FINISHED = "finished.json"
"""Name of the list. It is written last into the folder of the preparation."""


class DamagedPreparation(UserError):
    """Raised when a preparation does not have the files that were written. A run renames its folder."""

    def __init__(self, path: Path, cause: str):
        super().__init__(
            f"preparation {path} is damaged ({cause}). Run augment again with this output folder. It renames the "
            f"folder to {path.name}.bad and prepares the strategy again"
        )
        self.path, self.cause = path, cause


def write_list(folder: Path) -> None:
    """Mark a preparation as finished: write the hash of each of its files."""
    hashes = {file.relative_to(folder).as_posix(): file_sha256(file) for file in prepared_files(folder)}
    write_atomic(folder / FINISHED, canonical_json(hashes))


def prepared_files(folder: Path) -> list[Path]:
    """Return the sorted files of a preparation without the list. Temporary files begin with a dot and are left out."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.name != FINISHED and not path.name.startswith("."))


def check_files(folder: Path) -> None:
    """Compare the files of a finished preparation with their hashes.

    Raises:
        DamagedPreparation: a file is missing or has another hash, or the list cannot be read.
    """
    for name, sha256 in _listed(folder).items():
        path = folder / name
        if not is_file_path(name) or ".." in path.parts or not path.is_relative_to(folder):
            raise DamagedPreparation(folder, f"{FINISHED} names {visible(name[:60])}, which is no file of it")
        if path.name.startswith("."):  # earlier versions listed temporary files
            continue
        if not path.is_file():
            raise DamagedPreparation(folder, f"{name} is missing")
        if file_sha256(path) != sha256:
            raise DamagedPreparation(folder, f"{name} does not have the hash in {FINISHED}")


def _listed(folder: Path) -> Mapping[str, Any]:
    """Return the hash of each file."""
    try:
        return read_own_json(folder / FINISHED)
    except (OSError, ValueError) as error:
        if environment_fault(error) is not None:
            raise
        raise DamagedPreparation(folder, f"{FINISHED}: {innermost_cause(error)}") from error
