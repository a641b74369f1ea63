"""Parts: files of facts, written whole or not at all; all of them together are the ledger.

Owns the names, the writing and the reading of parts, and the facts as columns in memory. Does not know who computes a
fact (stages/), which are due (method/filtration.py) or what is decided from them.

A part lies at `<round>/<2 hex>/<16 hex of what it lists>-<16 hex of its content>.parquet`; its name says nothing about
who wrote it, so any worker may cut the remaining work anew. Where two parts list the same fact, the name that sorts
first counts.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import canonical_json, file_sha256, write_whole
from diffcore_hf.core.schema import GENERATED_IMAGE

REFERENCES = "ref"
CLASSES = "text"
PREPARED = "prepared"
FINISHED = "finished.json"
"""Written last into the folder of a preparation."""
# Small row groups, so that export reads the images it needs and not a whole part for each.
ROW_GROUP = 4

Key = tuple[str, int, int]  # row id, copy, attempt; references have copy = attempt = 0


def round_name(number: int) -> str:
    """The folder of a round of attempts."""
    return f"r{number}"


def keys_of(table: pa.Table) -> list[Key]:
    """What a part lists."""
    ids = table["row_id"].to_pylist()
    if "copy" not in table.column_names:
        return [(row_id, 0, 0) for row_id in ids]
    return list(zip(ids, table["copy"].to_pylist(), table["attempt"].to_pylist(), strict=True))


class Ledger:
    """All parts of one output folder. It only grows."""

    def __init__(self, directory: Path):
        self.directory = directory

    def write(self, kind: str, table: pa.Table) -> Path:
        """Commit a part. Returns its path; writing the same facts again is the same file."""
        if kind == CLASSES:
            listed = "\n".join(table["prompt"].to_pylist())
        else:
            listed = "\n".join(f"{row_id} {copy} {attempt}" for row_id, copy, attempt in sorted(keys_of(table)))
        buffer = io.BytesIO()
        pq.write_table(table, buffer, row_group_size=ROW_GROUP, compression="zstd", write_statistics=False)
        content = buffer.getvalue()
        name = hashlib.sha256(listed.encode()).hexdigest()[:16]
        path = self.directory / kind / name[:2] / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
        write_whole(path, content)
        return path

    def parts(self, kind: str) -> list[Path]:
        """Finished parts of a kind in the order in which they count."""
        return sorted((self.directory / kind).glob("??/*.parquet"))

    def rounds(self) -> list[str]:
        """The kinds of the rounds of attempts that have parts, in order."""
        numbers = (int(path.name[1:]) for path in self.directory.glob("r[0-9]*") if path.name[1:].isdigit())
        return [round_name(number) for number in sorted(numbers)]

    def count(self) -> int:
        """Attempts that the parts list, from their footers alone."""
        return sum(_rows(path) for kind in self.rounds() for path in self.parts(kind))

    def captions(self) -> dict[str, np.ndarray]:
        """Return the (d,) float16 embedding of each caption, of classes and of contexts."""
        known: dict[str, np.ndarray] = {}
        for path in self.parts(CLASSES):
            table = self.table(path, ["prompt", "text_embedding"])
            for text, row in zip(table["prompt"].to_pylist(), embedding_rows(table["text_embedding"]), strict=True):
                known.setdefault(text, row)
        return known

    def preparation(self, digest: str) -> Path:
        """Return the folder of what a strategy prepares from inputs with this digest."""
        return self.directory / PREPARED / digest

    def is_prepared(self, folder: Path) -> bool:
        """Whether a preparation is finished."""
        return (folder / FINISHED).is_file()

    def finish_preparation(self, folder: Path) -> None:
        """Record that a preparation is finished, with the hash of each of its files."""
        files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != FINISHED)
        hashes = {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}
        write_whole(folder / FINISHED, canonical_json(hashes))

    def table(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """A part, or some of its columns.

        Raises:
            UserError: the file is damaged.
        """
        try:
            return pq.read_table(path, columns=columns and list(columns), partitioning=None)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error


@dataclass
class Facts:
    """Facts as columns, one row per distinct key, growing as parts are added. Images stay on disk.

    Embeddings are (N, d) float16 with NaN rows where a reason left none.
    """

    keys: dict[Key, int]
    embeddings: list[np.ndarray]
    reasons: list[str | None]
    sha256: list[str | None]
    places: list[tuple[Path, int]]

    @classmethod
    def empty(cls) -> Facts:
        return cls({}, [], [], [], [])

    @classmethod
    def read(cls, ledger: Ledger, kinds: Iterable[str]) -> Facts:
        """The facts of all parts of some kinds."""
        facts = cls.empty()
        for kind in kinds:
            for path in ledger.parts(kind):
                facts.add(path, ledger.table(path, facts.columns(kind)))
        return facts

    @staticmethod
    def columns(kind: str) -> list[str]:
        """The columns that facts are read from: everything but the images and the texts."""
        if kind == REFERENCES:
            return ["row_id", "source_sha256", "embedding", "reason"]
        return ["row_id", "copy", "attempt", "image_sha256", "embedding", "reason"]

    def read_part(self, ledger: Ledger, kind: str, path: Path | None) -> None:
        """Read one part that was committed after this object was made; None for a task that wrote nothing."""
        if path is not None:
            self.add(path, ledger.table(path, self.columns(kind)))

    def add(self, path: Path, table: pa.Table) -> None:
        """Add the facts of a part; keys that are known already keep their first fact."""
        embeddings = embedding_rows(table["embedding"])
        hashes = table["image_sha256" if "image_sha256" in table.column_names else "source_sha256"].to_pylist()
        reasons = table["reason"].to_pylist()
        for row, key in enumerate(keys_of(table)):
            if key not in self.keys:
                self.keys[key] = len(self.places)
                self.embeddings.append(embeddings[row])
                self.reasons.append(reasons[row])
                self.sha256.append(hashes[row])
                self.places.append((path, row))

    def __len__(self) -> int:
        return len(self.places)

    def matrix(self, places: Sequence[int | None], width: int) -> np.ndarray:
        """(N, width) float16: the embedding at each place, NaN where there is none."""
        rows = np.full((len(places), width), np.nan, np.float16)
        for row, place in enumerate(places):
            if place is not None and self.embeddings[place].size:
                rows[row] = self.embeddings[place]
        return rows

    def since(self, place: int) -> Iterator[tuple[Key, int]]:
        """Keys and places of the facts from a place on, in the order in which they came."""
        return islice(self.keys.items(), place, None)

    def width(self) -> int:
        """Length of an embedding; 0 where no fact has one."""
        return next((embedding.size for embedding in self.embeddings if embedding.size), 0)


def embedding_rows(column: pa.ChunkedArray) -> list[np.ndarray]:
    """A list<float16> column as one array a row; empty where it is null."""
    rows: list[np.ndarray] = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
        offsets = chunk.offsets.to_numpy()
        valid = chunk.is_valid().to_numpy(zero_copy_only=False)
        rows += [
            # A copy, so that no row holds on to the whole part.
            values[start:stop].copy() if there else values[:0]
            for start, stop, there in zip(offsets[:-1], offsets[1:], valid, strict=True)
        ]
    return rows


def read_images(ledger: Ledger, places: Sequence[tuple[Path, int]]) -> list[bytes | None]:
    """The encoded images at some places, in their order; each row group is read once."""
    wanted: dict[Path, dict[int, list[int]]] = {}
    for position, (path, row) in enumerate(places):
        wanted.setdefault(path, {}).setdefault(row // ROW_GROUP, []).append(position)
    images: list[bytes | None] = [None] * len(places)
    for path, groups in wanted.items():
        try:
            with pq.ParquetFile(path) as file:
                for group, positions in groups.items():
                    column = file.read_row_group(group, columns=[GENERATED_IMAGE])[GENERATED_IMAGE]
                    for position in positions:
                        cell = column[places[position][1] - group * ROW_GROUP].as_py()
                        images[position] = cell["bytes"] if cell else None
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error
    return images


def _rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UserError:
    """The line about a part that cannot be read."""
    return UserError(
        f"part {path} cannot be read ({str(error).splitlines()[0]}). Delete it and run again: "
        "only what it lists is made anew"
    )
