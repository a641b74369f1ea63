"""Part files: the format of a part on disk, its two hashes, and the detection of damaged parts.

Owns the columns that are read as facts, the hash over them, and the hash over the whole file. Does not own the names of
folders and the list of parts (ledger.py), or the meaning of a fact (facts.py).

The name of a part contains a hash of its bytes. Reading all bytes only to read the facts would take too long. So the
footer contains a second hash, over the columns that are read as facts. Facts are always compared with the second hash.
The first hash is compared before images of a part are exported.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.schema import GENERATED_IMAGE, AttemptKey

REFERENCES = "ref"
CLASSES = "text"
IMAGE_CAPTIONS = "captions"
COMPARISONS, PAIRS = "near", "pairs"
FACTS_KEY = b"diffcore.facts"
"""Key of the footer with the hash over the facts. Parts of earlier versions do not have it."""
ROW_GROUP, GROUP_BYTES = 64, 8_000_000
"""Largest number of rows of a row group and its usual number of bytes. An image is read together with its group."""
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV)
"""Error numbers of a link to itself and of a device that does not exist."""
SMALL_BYTES = 500_000
"""Largest size of a part that is read at once."""

_COLUMNS = {
    REFERENCES: ("row_id", "inputs", "source_sha256", "embedding", "reason"),
    CLASSES: ("prompt", "text_embedding", "logit_scale"),
    IMAGE_CAPTIONS: ("row_id", "inputs", "caption"),
    COMPARISONS: (
        *("row_id", "copy", "attempt", "inputs", "image_sha256", "method", "hash"),
        *("split_row_id", "split_sha256", "split_score"),
        *("training_row_id", "training_sha256", "training_score"),
    ),
    PAIRS: ("tested_sha256", "other_sha256", "method", "score"),
}
_ATTEMPT_COLUMNS = ("row_id", "copy", "attempt", "inputs", "image_sha256", "embedding", "reason")

Location = tuple[Path, int]
"""Path of a part, and index of a row in it."""
T = TypeVar("T")


class DamagedPart(UserError):
    """Raised when a part does not have the bytes that were written. A run renames such a part (`Ledger.set_aside`)."""

    def __init__(self, path: Path, cause: str):
        super().__init__(
            f"part {path} is damaged ({cause}). Run augment again with this output folder. It renames the part to "
            f"{path.name}.bad and computes its facts again"
        )
        self.path, self.cause = path, cause


def fact_columns(kind: str) -> tuple[str, ...]:
    """Return the columns of a part that are read into memory: all columns except images and repeated texts."""
    return _COLUMNS.get(kind, _ATTEMPT_COLUMNS)


def keys_of(table: pa.Table) -> list[AttemptKey]:
    """Return the keys of the facts in a part."""
    ids = table["row_id"].to_pylist()
    if "copy" not in table.column_names:
        return [(row_id, 0, 0) for row_id in ids]
    return list(zip(ids, table["copy"].to_pylist(), table["attempt"].to_pylist(), strict=True))


def embedding_rows(column: pa.ChunkedArray) -> tuple[np.ndarray | list[np.ndarray], list[bool]]:
    """Return the rows of a list<float16> column, and whether each row has an embedding.

    Returns:
        ((n, d) array, or n arrays if a row is null or the lengths differ, n flags). The array of a null row is empty.
    """
    combined = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values = combined.values.to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
    offsets = combined.offsets.to_numpy()
    if not combined.null_count and len(combined):
        width = int(offsets[1] - offsets[0])
        if width and (offsets[1:] - offsets[:-1] == width).all():
            return values[offsets[0] : offsets[-1]].reshape(len(combined), width), [True] * len(combined)
    has = combined.is_valid().to_numpy(zero_copy_only=False).tolist()
    rows = [
        values[start:stop] if flag else values[:0]
        for start, stop, flag in zip(offsets[:-1], offsets[1:], has, strict=True)
    ]
    return rows, has


def encode(kind: str, table: pa.Table) -> tuple[str, bytes]:
    """Return the name of a part, without its suffix, and its bytes. Equal facts have equal names and bytes."""
    if kind == CLASSES:
        keys = "\n".join(table["prompt"].to_pylist())
    elif kind == PAIRS:
        pairs = zip(table["tested_sha256"].to_pylist(), table["other_sha256"].to_pylist(), strict=True)
        keys = "\n".join(" ".join(pair) for pair in pairs)
    else:
        keys = "\n".join(f"{row_id} {copy} {attempt}" for row_id, copy, attempt in sorted(keys_of(table)))
    facts = table.select([name for name in table.column_names if name in fact_columns(kind)])
    digest = {FACTS_KEY: facts_digest(facts).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **digest})
    rows = GROUP_BYTES * len(table) // max(table.nbytes, 1)
    # Embeddings, hashes and encoded images cannot be made smaller, and they are read faster without compression.
    texts = set(table.column_names) - {*fact_columns(kind), GENERATED_IMAGE}
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=min(max(rows, 1), ROW_GROUP),
        compression=dict.fromkeys(texts, "zstd") or "none",
        write_statistics=False,
        use_dictionary=False,
    )
    content = buffer.getvalue()
    return f"{hashlib.sha256(keys.encode()).hexdigest()[:16]}-{_short(hashlib.sha256(content).hexdigest())}", content


def read_facts(path: Path, kind: str) -> pa.Table:
    """Read the facts of a part and compare them with their hash.

    Raises:
        DamagedPart: the file cannot be parsed, or the facts are not those that were written.
        FileNotFoundError: there is no such file.
    """

    def read() -> tuple[pa.Table, bytes | None]:
        # A part of an earlier version can lack a column, which is then not in the table. Columns are not read ahead,
        # because the threads for that take more time than the read.
        with _arrow_file(path) as opened, pq.ParquetFile(opened, pre_buffer=False) as file:
            table = file.read(columns=list(fact_columns(kind)), use_threads=False)
            return table, (file.metadata.metadata or {}).get(FACTS_KEY)

    table, stored = _guarded(path, read)
    if stored is None:
        with open_part(path) as file:
            check_file(path, file)
    elif stored != _guarded(path, lambda: facts_digest(table)).encode():
        raise DamagedPart(path, "its facts do not have the hash in its footer")
    return table


def open_part(path: Path) -> io.BufferedReader:
    """Open a part for reading. A pipe with the name of a part would block its reader for ever, so it is not read.

    Raises:
        DamagedPart: it is not a regular file.
        FileNotFoundError: there is no such file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        if error.errno in _NO_FILE:
            raise DamagedPart(path, f"it is not a regular file: {innermost_cause(error)}") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DamagedPart(path, "it is not a regular file")
    return open(handle, "rb")


def _arrow_file(path: Path) -> pa.NativeFile:
    """Open a part for Arrow. A small one is read at once, because many reads of a few bytes take more time."""
    with open_part(path) as file:
        if os.fstat(file.fileno()).st_size <= SMALL_BYTES:
            return pa.BufferReader(file.read())
    return pa.OSFile(str(path))


def read_images(locations: Sequence[Location]) -> list[bytes | None]:
    """Return the encoded image at each location, in this order. Each row group is read once.

    The hash of the parts is not checked.

    Raises:
        DamagedPart: a part cannot be parsed.
    """
    rows: dict[Path, list[int]] = {}
    for path, row in locations:
        rows.setdefault(path, []).append(row)
    found: dict[Location, bytes | None] = {}
    for path, wanted in rows.items():
        with open_part(path) as file:
            found |= {(path, row): image for row, image in images_in(path, file, wanted)}
    return [found[location] for location in locations]


def images_in(path: Path, opened: io.BufferedReader, rows: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
    """Yield the rows and encoded images of some rows of an open part, in ascending order.

    Raises:
        DamagedPart: the part cannot be parsed.
    """
    wanted = sorted(set(rows))
    file = _guarded(path, lambda: pq.ParquetFile(opened))
    start = 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        inside = [row - start for row in wanted if start <= row < stop]
        if inside:
            for row, image in zip(inside, _guarded(path, _group_reader(file, group, inside)), strict=True):
                yield start + row, image
        start = stop
    if wanted and wanted[-1] >= start:
        raise DamagedPart(path, f"it has {start} rows")


def _group_reader(file: pq.ParquetFile, group: int, rows: Sequence[int]) -> Callable[[], list[bytes | None]]:
    """Return a function that reads the images of some rows of a row group."""

    def read() -> list[bytes | None]:
        column = file.read_row_group(group, columns=[GENERATED_IMAGE], use_threads=False)[GENERATED_IMAGE]
        cells = column.take(pa.array(rows, pa.int64())).to_pylist()
        return [cell["bytes"] if cell else None for cell in cells]

    return read


def check_file(path: Path, opened: io.BufferedReader) -> None:
    """Compare the bytes of an open part with the hash in its name. Then go back to its start.

    Raises:
        DamagedPart: the hashes differ.
    """
    digest = hashlib.file_digest(opened, "sha256").hexdigest()
    opened.seek(0)
    if path.stem.partition("-")[2] != _short(digest):
        raise DamagedPart(path, "its bytes do not have the hash in its name")


def row_count(path: Path) -> int:
    """Return the number of rows of a part. Only its footer is read.

    Raises:
        DamagedPart: the file cannot be parsed.
    """

    def read() -> int:
        with open_part(path) as file, pa.PythonFile(file) as opened:
            return int(pq.read_metadata(opened).num_rows)

    return _guarded(path, read)


def facts_digest(table: pa.Table) -> str:
    """Return a hash over the values of all columns. It does not depend on how Arrow stores them in memory."""
    digest = hashlib.sha256(str(table.num_rows).encode())
    for name, column in sorted(zip(table.column_names, table.columns, strict=True), key=itemgetter(0)):
        digest.update(f"\n{name}\n".encode())
        for values in _values(column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()):
            digest.update(values)
    return digest.hexdigest()


def _values(array: pa.Array) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the validity, lengths and values of a column of texts, numbers or lists of numbers."""
    if nulls := array.null_count:
        yield b"nulls"
        if nulls == len(array):
            yield bytes((nulls + 7) // 8)
            return
        valid = array.is_valid()
        yield np.packbits(valid.to_numpy(zero_copy_only=False)).tobytes()
        # The values behind nulls are not defined.
        array = array.filter(valid)
    if not len(array):
        return
    kind = array.type.id
    if kind == pa.lib.Type_LIST:
        ends = array.offsets.to_numpy()
        yield _lengths(ends)
        yield from _values(array.values[int(ends[0]) : int(ends[-1])])
    elif kind == pa.lib.Type_STRING:
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
        yield _lengths(ends)
        if data is not None:
            yield memoryview(data)[int(ends[0]) : int(ends[-1])]
    else:
        yield np.ascontiguousarray(array.to_numpy()).view(np.uint8).data


def _lengths(ends: np.ndarray) -> bytes:
    """Return the bytes of the ends of the values, relative to the start of the first value."""
    return (ends - ends[0]).astype("<i4").tobytes()


def _guarded(path: Path, action: Callable[[], T]) -> T:
    """Call a function that reads a part.

    A fault of the machine, such as a missing permission, is raised unchanged, because the part may be intact.

    Raises:
        DamagedPart: the function raised another exception.
    """
    try:
        return action()
    except (FileNotFoundError, DamagedPart):
        raise
    except Exception as error:
        if environment_fault(error) is not None:
            raise
        raise DamagedPart(path, innermost_cause(error)) from error


def _short(digest: str) -> str:
    return digest[:16]
