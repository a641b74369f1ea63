"""Union: the facts of several output folders in one folder.

Owns the copying of parts and the checks before it. A part has the hash of its keys and of its content in its name. So
the union of two ledgers is the union of their files, and copying the folder `parts/` with rsync gives the same ledger.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.prepared_files import FINISHED, DamagedPreparation, check_files, prepared_files
from diffcore_hf.config import digests
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, check_target, file_sha256, write_with
from diffcore_hf.core.own_files import read_own_file


@dataclass(frozen=True)
class Union:
    """Result of `unite`."""

    copied: int
    """Number of parts that were copied."""
    present: int
    """Number of parts that were in the folder already."""
    damaged: tuple[Path, ...]
    """Parts and folders of preparations whose content does not have the recorded hash. They were not copied."""


def check_folders(out: Folder, others: Sequence[Folder]) -> dict[str, Any]:
    """Check that the facts of some folders can be united. Writes nothing.

    Args:
        out: the folder that gets the facts; it may be a new folder.
        others: the folders with the facts.

    Returns:
        The content of run.json for `out`.

    Raises:
        UserError: a folder is not the folder of a run, a folder is named twice, or the folders have other settings.
    """
    runs = [folder.existing_run() for folder in others]
    if not os.path.lexists(out.path):
        check_target(out.run_file)
    out.check_owned_or_empty()
    paths = [folder.path.resolve() for folder in (out, *others)]
    for folder, path in zip((out, *others), paths, strict=True):
        if paths.count(path) > 1:
            raise UserError(f"{folder.path} is named twice. Name each folder once")
        if path != paths[0] and (path in paths[0].parents or paths[0] in path.parents):
            raise UserError(
                f"one of {out.path} and {folder.path} is inside the other. Choose another folder to merge into"
            )
    target = out.existing_run() if out.read_run() is not None else runs[0]
    for folder, run in zip(others, runs, strict=True):
        if run.get("attempt_digest") != target.get("attempt_digest"):
            changed = digests.differences(target.get("attempt", {}), run.get("attempt", {}))
            changed = changed or ["another version of diffcore-hf generated them"]
            raise UserError(
                f"{folder.path} was generated with other settings than {out.path} ({'; '.join(changed[:3])}). Only "
                "folders with equal settings can be united. Use plan --prepare once, and copy it to all machines"
            )
    _check_preparations(out, others)
    return target


def _check_preparations(out: Folder, others: Sequence[Folder]) -> None:
    """Raise UserError if two folders have different results of the same preparation, such as learned tokens."""
    found: dict[str, tuple[Path, bytes]] = {}
    for folder in (out, *others):
        for prepared in Ledger(folder.parts).finished_preparations():
            content = read_own_file(prepared / FINISHED)
            first, expected = found.setdefault(prepared.name, (folder.path, content))
            if content != expected:
                raise UserError(
                    f"{folder.path} and {first} prepared the strategy with different results, so their images do not "
                    "belong together. Prepare it on one machine (augment --limit 1), and copy the folder to the others"
                )


def unite(out: Folder, others: Sequence[Folder], run: Mapping[str, Any]) -> Union:
    """Copy all parts of some folders to `out`, after `check_folders`.

    A second call copies only what is missing. So an interrupted call can be repeated.

    Args:
        out: the folder that gets the facts.
        others: the folders with the facts.
        run: the content of run.json for `out`, if it has none.
    """
    if out.read_run() is None:
        out.create_run(run)
    copied = present = 0
    damaged: list[Path] = []
    for folder in others:
        for path in _parts(folder, damaged):
            target = out.parts / path.relative_to(folder.parts)
            if target.is_file():
                present += 1
            elif not _is_intact(path):
                damaged.append(path)
            else:
                _copy(path, target)
                copied += 1
    return Union(copied, present, tuple(damaged))


def _parts(folder: Folder, damaged: list[Path]) -> Iterator[Path]:
    """Yield the files of a ledger. The list of files of a preparation is after these files.

    Args:
        folder: the output folder.
        damaged: gets the folders of damaged preparations, whose files are not yielded.
    """
    ledger = Ledger(folder.parts)
    yield from (path for path in ledger.all_parts() if "-" in path.name and path.is_file())
    for prepared in ledger.finished_preparations():
        try:
            check_files(prepared)
        except DamagedPreparation:
            damaged.append(prepared)
            continue
        yield from prepared_files(prepared)
        yield prepared / FINISHED


def _is_intact(path: Path) -> bool:
    """Return whether the content of a part has the hash in its name; true for other files, whose names have no hash."""
    return path.suffix != ".parquet" or file_sha256(path).startswith(path.stem.rpartition("-")[2])


def _copy(path: Path, target: Path) -> None:
    """Copy a file completely or not at all."""
    content = path.read_bytes()
    write_with(target, lambda temporary: temporary.write_bytes(content))
