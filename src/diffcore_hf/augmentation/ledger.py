"""Ledger: the parts of an output folder. A part is a file of facts that is written completely or not at all.

Owns the names, the writing and the reading of parts, and the facts as columns in memory. Does not compute facts
(worker.py), choose the ones that are due (rounds.py) or decide anything from them (decisions.py).

The path of a part is `<round>/<2 hex>/<16 hex of its keys>-<16 hex of its content>.parquet`. It does not contain the
process that wrote it, so any process can continue the work. A fact is used only if its inputs are those that the plan
wants now (inputs.py). If two parts contain such facts with the same key, the fact of the part whose name sorts first is
used.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.folder import canonical_json, file_sha256, write_atomic
from diffcore_hf.core.schema import GENERATED_IMAGE, AttemptKey

REFERENCES = "ref"
CLASSES = "text"
PREPARED = "prepared"
FINISHED = "finished.json"
"""Marks a finished preparation of the strategy, such as learned tokens; it is written last into the folder."""
ROW_GROUP = 4
"""Number of rows of a row group. It is small, so that an export reads only the images that it needs."""

Location = tuple[Path, int]
"""Path of a part, and index of a row in it."""
Wanted = Callable[[AttemptKey], str | None]
"""Function that returns the digest of the inputs that the fact of a key must have; None: no fact is wanted."""


def round_name(number: int) -> str:
    """Return the kind of the parts of a round: `r0`, `r1`, ..."""
    return f"r{number}"


def keys_of(table: pa.Table) -> list[AttemptKey]:
    """Return the keys of the facts in a part."""
    ids = table["row_id"].to_pylist()
    if "copy" not in table.column_names:
        return [(row_id, 0, 0) for row_id in ids]
    return list(zip(ids, table["copy"].to_pylist(), table["attempt"].to_pylist(), strict=True))


class Ledger:
    """All parts of one output folder. Parts are added, and never changed or removed."""

    def __init__(self, directory: Path):
        self.directory = directory

    def write(self, kind: str, table: pa.Table) -> Path:
        """Write a part and return its path. If the same facts are written again, the path is the same."""
        if kind == CLASSES:
            keys = "\n".join(table["prompt"].to_pylist())
        else:
            keys = "\n".join(f"{row_id} {copy} {attempt}" for row_id, copy, attempt in sorted(keys_of(table)))
        buffer = io.BytesIO()
        pq.write_table(table, buffer, row_group_size=ROW_GROUP, compression="zstd", write_statistics=False)
        content = buffer.getvalue()
        name = hashlib.sha256(keys.encode()).hexdigest()[:16]
        path = self.directory / kind / name[:2] / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
        write_atomic(path, content)
        return path

    def parts(self, kind: str) -> list[Path]:
        """Return the sorted paths of the parts of a kind. If several parts have a fact with the same key, the first is
        used."""
        return sorted((self.directory / kind).glob("??/*.parquet"))

    def rounds(self) -> list[str]:
        """Return the names (`r0`, `r1`, ...) of the rounds that have parts, in ascending order."""
        numbers = (int(path.name[1:]) for path in self.directory.glob("r[0-9]*") if path.name[1:].isdigit())
        return [round_name(number) for number in sorted(numbers)]

    def count(self) -> int:
        """Return the number of attempts in all parts. Only the footers of the files are read."""
        return sum(map(_rows, chain.from_iterable(self.parts(kind) for kind in self.rounds())))

    def captions(self) -> dict[str, np.ndarray]:
        """Return the (d,) float16 embedding of each caption. A caption describes a class or a context."""
        known: dict[str, np.ndarray] = {}
        for path in self.parts(CLASSES):
            table = self.table(path, ["prompt", "text_embedding"])
            for text, row in zip(table["prompt"].to_pylist(), embedding_rows(table["text_embedding"]), strict=True):
                known.setdefault(text, row)
        return known

    def logit_scale(self) -> float | None:
        """Return the recorded scale of the cosines of images and captions; None if it is not recorded."""
        for path in self.parts(CLASSES):
            # A part of an earlier version has no such column.
            if "logit_scale" in (table := self.table(path)).column_names:
                for scale in table["logit_scale"].to_pylist():
                    if scale is not None:
                        return float(scale)
        return None

    def preparation(self, digest: str) -> Path:
        """Return the folder of the preparation whose inputs have this digest."""
        return self.directory / PREPARED / digest

    def is_prepared(self, folder: Path) -> bool:
        """Return whether a preparation is finished."""
        return (folder / FINISHED).is_file()

    def finish_preparation(self, folder: Path) -> None:
        """Record that a preparation is finished, with the hash of each of its files."""
        files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != FINISHED)
        hashes = {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}
        write_atomic(folder / FINISHED, canonical_json(hashes))

    def table(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a part, or some of its columns.

        Raises:
            UserError: the file is damaged.
        """
        try:
            return pq.read_table(path, columns=columns and list(columns), partitioning=None)
        except (pa.ArrowException, OSError) as error:
            raise_unreadable(path, error)


@dataclass
class Facts:
    """The facts of some parts as columns in memory, with one entry per key. Images stay on disk."""

    keys: dict[AttemptKey, int]
    """Key -> index of the fact in the columns."""
    embeddings: list[np.ndarray]
    """(d,) float16 each; empty if the fact has no embedding."""
    reasons: list[str | None]
    """Reason that a stage recorded; None if it found no fault."""
    sha256: list[str | None]
    """Hash of the image file; None if there is no image."""
    locations: list[Location]
    """Location of each image."""
    wanted: Wanted
    """Function that returns the digest of the inputs that the fact of a key must have; None: no fact is wanted."""
    unread: set[AttemptKey]
    """Keys of facts about real images that exist but could not be read. A later run reads these images again."""
    paths: set[Path] = field(default_factory=set)
    """Paths of the parts that were read."""

    @classmethod
    def empty(cls, wanted: Wanted) -> Facts:
        """Return an object without facts, to which facts with the wanted inputs can be added."""
        return cls({}, [], [], [], [], wanted, set())

    @classmethod
    def read(cls, ledger: Ledger, kinds: Iterable[str], wanted: Wanted) -> Facts:
        """Read the facts of all parts of some kinds that have the wanted inputs."""
        facts = cls.empty(wanted)
        for kind in kinds:
            for path in ledger.parts(kind):
                facts.add(path, ledger.table(path, facts.columns(kind)))
        return facts

    @staticmethod
    def columns(kind: str) -> list[str]:
        """Return the columns of a part that are read into memory: all columns except images and texts."""
        if kind == REFERENCES:
            return ["row_id", "inputs", "source_sha256", "embedding", "reason"]
        return ["row_id", "copy", "attempt", "inputs", "image_sha256", "embedding", "reason"]

    def read_part(self, ledger: Ledger, kind: str, path: Path | None) -> None:
        """Add the facts of one part from its file. A path of None means that the task wrote no part."""
        if path is not None:
            self.add(path, ledger.table(path, self.columns(kind)))

    def add(self, path: Path, table: pa.Table) -> None:
        """Add the facts of a part that have the wanted inputs. If a key already has such a fact, the first one stays.

        A real image that exists but could not be read keeps its reason until a fact with the wanted inputs is added.
        """
        self.paths.add(path)
        embeddings = embedding_rows(table["embedding"])
        is_reference = "source_sha256" in table.column_names
        hashes = table["source_sha256" if is_reference else "image_sha256"].to_pylist()
        inputs, reasons = table["inputs"].to_pylist(), table["reason"].to_pylist()
        for row, key in enumerate(keys_of(table)):
            if (wanted := self.wanted(key)) is None:
                continue
            fits = inputs[row] == wanted
            if key not in self.keys and (fits or (is_reference and hashes[row] is None)):
                self.keys[key] = len(self.locations)
                self.embeddings.append(embeddings[row])
                self.reasons.append(reasons[row])
                self.sha256.append(hashes[row])
                self.locations.append((path, row))
                if not fits:
                    self.unread.add(key)
            elif fits and key in self.unread:
                self.unread.remove(key)
                index = self.keys[key]
                self.embeddings[index], self.reasons[index] = embeddings[row], reasons[row]
                self.sha256[index], self.locations[index] = hashes[row], (path, row)

    def __len__(self) -> int:
        return len(self.locations)

    def matrix(self, indices: Sequence[int | None], width: int) -> np.ndarray:
        """Return (N, width) float16: the embedding at each index.

        The row of an index None, or of a fact without embedding, is NaN.
        """
        rows = np.full((len(indices), width), np.nan, np.float16)
        for row, index in enumerate(indices):
            if index is not None and self.embeddings[index].size:
                rows[row] = self.embeddings[index]
        return rows

    def since(self, index: int) -> Iterator[tuple[AttemptKey, int]]:
        """Return the keys and indices of the facts from `index` on, in the order in which they were added."""
        return islice(self.keys.items(), index, None)

    def width(self) -> int:
        """Return the length of an embedding; 0 if no fact has an embedding."""
        return next((embedding.size for embedding in self.embeddings if embedding.size), 0)


def embedding_rows(column: pa.ChunkedArray) -> list[np.ndarray]:
    """Return the rows of a list<float16> column as arrays; the array of a null row is empty."""
    rows: list[np.ndarray] = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
        offsets = chunk.offsets.to_numpy()
        valid = chunk.is_valid().to_numpy(zero_copy_only=False)
        rows += [
            # A view would keep the whole part in memory, so the row is copied.
            values[start:stop].copy() if is_valid else values[:0]
            for start, stop, is_valid in zip(offsets[:-1], offsets[1:], valid, strict=True)
        ]
    return rows


def read_images(locations: Sequence[Location]) -> list[bytes | None]:
    """Return the encoded image at each location, in this order. Each row group is read once.

    Raises:
        UserError: a part is damaged.
    """
    wanted: dict[Path, dict[int, list[int]]] = {}
    for position, (path, row) in enumerate(locations):
        wanted.setdefault(path, {}).setdefault(row // ROW_GROUP, []).append(position)
    images: list[bytes | None] = [None] * len(locations)
    for path, groups in wanted.items():
        try:
            with pq.ParquetFile(path) as file:
                for group, positions in groups.items():
                    column = file.read_row_group(group, columns=[GENERATED_IMAGE])[GENERATED_IMAGE]
                    for position in positions:
                        cell = column[locations[position][1] - group * ROW_GROUP].as_py()
                        images[position] = cell["bytes"] if cell else None
        except (pa.ArrowException, OSError) as error:
            raise_unreadable(path, error)
    return images


def _rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise_unreadable(path, error)


def raise_unreadable(path: Path, error: Exception) -> NoReturn:
    """Raise the error for a part that cannot be read.

    A fault of the machine, such as a missing permission, is raised unchanged, because the part may be intact.

    Raises:
        UserError: the file is damaged.
    """
    if environment_fault(error) is not None:
        raise error
    raise UserError(
        f"part {path} cannot be read ({innermost_cause(error)}). Delete it and run again. "
        "Only the facts of this part are then computed again"
    ) from error
