"""Ledger: the parts of an output folder. A part is a file of facts that is written completely or not at all.

Owns the paths, the writing and the listing of parts. Does not own the content of a part (part_files.py), the facts in
memory (facts.py), or their computation (worker.py). It does not choose the facts that are due (rounds.py) or decide
anything from them (decisions.py).

The path of a part is `<round>/<2 hex>/<16 hex of its keys>-<16 hex of its content>.parquet`. It does not contain the
process that wrote it, so any process can continue the work.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from diffcore_hf.augmentation import part_files
from diffcore_hf.augmentation.part_files import CLASSES, DamagedPart
from diffcore_hf.augmentation.prepared_files import FINISHED, DamagedPreparation, check_files
from diffcore_hf.core.folder import Folder, write_atomic

log = logging.getLogger(__name__)

PREPARED = "prepared"
BAD = ".bad"
"""Ending that is appended to the name of a damaged part."""

T = TypeVar("T")


def round_name(number: int) -> str:
    """Return the kind of the parts of a round: `r0`, `r1`, ..."""
    return f"r{number}"


class Ledger:
    """All parts of one output folder. Parts are added, and never changed or removed.

    Args:
        directory: the folder of the parts.
        repairs: whether a damaged part is renamed, so that its facts are computed again. Only a run does so. For other
            commands a damaged part is an error, because they cannot compute facts.
    """

    def __init__(self, directory: Path, *, repairs: bool = False):
        self.directory, self.repairs = directory, repairs
        self.renamed: set[Path] = set()
        """Parts that this ledger renamed, because they are damaged."""
        self._rows: dict[Path, int] = {}

    def write(self, kind: str, table: pa.Table) -> Path:
        """Write a part and return its path. If the same facts are written again, the path is the same.

        Raises:
            UserError: the output folder has vanished.
        """
        name, content = part_files.encode(kind, table)
        if not self.directory.parent.is_dir():
            Folder(self.directory.parent.parent).check_present()
        path = self.directory / kind / name[:2] / f"{name}.parquet"
        write_atomic(path, content)
        return path

    def parts(self, kind: str) -> list[Path]:
        """Return the sorted paths of the parts of a kind. If several parts have a fact with the same key, the first is
        used."""
        return sorted((self.directory / kind).glob("??/*.parquet"))

    def all_parts(self) -> list[Path]:
        """Return the sorted paths of the parts of all kinds."""
        return sorted(self.directory.glob("*/??/*.parquet"))

    def rounds(self) -> list[str]:
        """Return the names (`r0`, `r1`, ...) of the rounds that have parts, in ascending order."""
        numbers = (int(path.name[1:]) for path in self.directory.glob("r[0-9]*") if path.name[1:].isdecimal())
        return [round_name(number) for number in sorted(numbers)]

    def attempt_parts(self) -> list[Path]:
        """Return the paths of all parts about attempts."""
        return list(chain.from_iterable(self.parts(kind) for kind in self.rounds()))

    def count(self, paths: Iterable[Path] | None = None) -> int:
        """Return the number of attempts in some parts; None: in all. Only the footers of the files are read."""
        paths = self.attempt_parts() if paths is None else list(paths)
        for path in paths:
            if path not in self._rows:
                self._rows[path] = self._read(partial(part_files.row_count, path)) or 0
        return sum(self._rows[path] for path in paths)

    def facts(self, kind: str, path: Path) -> pa.Table | None:
        """Return the facts of a part; None if it does not exist any more, or if this call renamed it as damaged.

        Raises:
            DamagedPart: the part is damaged, and this ledger does not rename such parts.
        """
        return self._read(lambda: part_files.read_facts(path, kind))

    def set_aside(self, part: DamagedPart) -> None:
        """Rename a damaged part, so that no process reads it and its facts are due again."""
        self._rows.pop(part.path, None)
        self.renamed.add(part.path)
        bad = part.path.with_name(part.path.name + BAD)
        try:
            os.replace(part.path, bad)
        except FileNotFoundError:  # another process renamed it
            return
        log.warning(
            "part %s is damaged (%s). It was renamed to %s, and its facts are computed again",
            part.path,
            part.cause,
            bad.name,
        )

    def damaged(self) -> Iterator[DamagedPart | DamagedPreparation]:
        """Compare all parts and preparations with their hashes, and yield an error for each damaged one."""
        for path in self.all_parts():
            try:
                with part_files.open_part(path) as file:
                    part_files.check_file(path, file)
            except FileNotFoundError:  # a link without a target, or another process renamed the part
                continue
            except DamagedPart as damaged:
                yield damaged
        for folder in self.finished_preparations():
            try:
                check_files(folder)
            except DamagedPreparation as bad:
                yield bad

    def _read(self, read: Callable[[], T]) -> T | None:
        """Call a function that reads a part; return None if the part does not exist or was renamed."""
        try:
            return read()
        except FileNotFoundError:
            return None
        except DamagedPart as damaged:
            if not self.repairs:
                raise
            self.set_aside(damaged)
            return None

    def captions(self) -> dict[str, np.ndarray]:
        """Return the (d,) float16 embedding of each caption. A caption describes a class or a context."""
        known: dict[str, np.ndarray] = {}
        for table in self._class_parts():
            rows, _ = part_files.embedding_rows(table["text_embedding"])
            for text, row in zip(table["prompt"].to_pylist(), rows, strict=True):
                known.setdefault(text, np.array(row, np.float16))
        return known

    def logit_scale(self) -> float | None:
        """Return the recorded scale of the cosines of images and captions; None if it is not recorded."""
        for table in self._class_parts():
            # A part of an earlier version has no such column.
            if "logit_scale" in table.column_names:
                for scale in table["logit_scale"].to_pylist():
                    if scale is not None:
                        return float(scale)
        return None

    def _class_parts(self) -> list[pa.Table]:
        tables = [self.facts(CLASSES, path) for path in self.parts(CLASSES)]
        return [table for table in tables if table is not None]

    def preparation(self, digest: str) -> Path:
        """Return the folder of the preparation whose inputs have this digest."""
        return self.directory / PREPARED / digest

    def is_prepared(self, folder: Path) -> bool:
        """Return whether a preparation is finished. Its files are compared with their hashes.

        Raises:
            DamagedPreparation: it is damaged, and this ledger does not rename damaged files.
        """
        if not os.path.lexists(folder / FINISHED):
            return False
        try:
            check_files(folder)
        except DamagedPreparation as damaged:
            if not self.repairs:
                raise
            self._set_preparation_aside(damaged)
            return False
        return True

    def _set_preparation_aside(self, damaged: DamagedPreparation) -> None:
        """Rename the folder of a damaged preparation, so that the strategy is prepared again."""
        numbers = (f".{number}" if number else "" for number in count())
        bad = next(
            path
            for number in numbers
            if not os.path.lexists(path := damaged.path.with_name(f"{damaged.path.name}{BAD}{number}"))
        )
        with suppress(FileNotFoundError):  # another process renamed it
            os.replace(damaged.path, bad)
            log.warning(
                "preparation %s is damaged (%s). It was renamed to %s, and the strategy is prepared again",
                damaged.path,
                damaged.cause,
                bad.name,
            )

    def finished_preparations(self) -> list[Path]:
        """Return the sorted folders of the finished preparations.

        A folder is left out if its list of files is not a regular file, because a pipe would block a reader.
        """
        lists = (self.directory / PREPARED).glob(f"*/{FINISHED}")
        return sorted(path.parent for path in lists if path.is_file() and BAD not in path.parent.name)
