"""Growth: the changes of the source since the last run in an output folder.

Owns the record of the rows of the last run, the comparison with it, and the check that a folder is not continued with
another dataset. Does not decide which facts can still be used (inputs.py).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, write_atomic

RowRecord = Mapping[str, tuple[str | None, str | None]]
"""Row id -> class name (None without a label) and sha256 of the image (None if it cannot be read)."""


@dataclass(frozen=True)
class SourceChanges:
    """Numbers of rows of the augmented split that changed since the last run in a folder.

    A row that got another image or class is included in both `removed` and `added`.
    """

    added: int
    removed: int
    unchanged: int

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def text(self) -> str:
        """Return the changes as one phrase."""
        added = f"{self.added:,} row{'' if self.added == 1 else 's'} added"
        return f"since the last run: {added}, {self.removed:,} removed, {self.unchanged:,} unchanged"


def record(source: LoadedSource) -> RowRecord:
    """Return the record of the rows of the augmented split."""
    split = source.config.split
    labels = [source.names[label] if label >= 0 else None for label in source.labels[split].tolist()]
    return dict(zip(source.row_ids[split], zip(labels, source.sha256[split], strict=True), strict=True))


def write_record(folder: Folder, source: LoadedSource) -> None:
    """Store the record of a source in the output folder, for the next run."""
    rows = record(source)
    table = pa.table(
        {
            "row_id": pa.array(rows, pa.string()),
            "class_name": pa.array([name for name, _ in rows.values()], pa.string()),
            "source_sha256": pa.array([sha256 for _, sha256 in rows.values()], pa.string()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(_path(folder), buffer.getvalue())


def read_record(folder: Folder) -> RowRecord | None:
    """Return the record of the last run; None if there is none that can be read. It is only used for messages."""
    try:
        table = pq.read_table(_path(folder), partitioning=None)
        columns = [table[name].to_pylist() for name in ("row_id", "class_name", "source_sha256")]
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
    ids, names, hashes = columns
    return dict(zip(ids, zip(names, hashes, strict=True), strict=True))


def changes(folder: Folder, source: LoadedSource) -> SourceChanges | None:
    """Return what changed in a source since the last run in a folder; None if the earlier rows are not known.

    Raises:
        UserError: the source has no image and no class of the last run, so it is another dataset.
    """
    before, now = read_record(folder), record(source)
    if not before:
        return None
    if not _related(before, now):
        raise UserError(
            f"output {folder.path} was started with another source: {source.config.path} has none of its "
            f"{len(before):,} images and none of its classes. Choose another --output"
        )
    unchanged = len(before.items() & now.items())
    return SourceChanges(added=len(now) - unchanged, removed=len(before) - unchanged, unchanged=unchanged)


def _related(before: RowRecord, now: RowRecord) -> bool:
    """Return whether two records share an image or a class name."""
    names = {name for name, _ in before.values()} - {None}
    hashes = {sha256 for _, sha256 in before.values()} - {None}
    return any(name in names or sha256 in hashes for name, sha256 in now.values())


def _path(folder: Folder) -> Path:
    return folder.private / "source.parquet"
