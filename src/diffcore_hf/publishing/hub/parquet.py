"""Parquet: reads shards; a file that is damaged or lacks a column gives an error of one line.

Owns these errors. A shard may come from a repository of another user, so its content is always checked. Shards are read
without the threads of pyarrow. A thread would use the Python object of an open file on the Hub. If it still does so
when the interpreter ends, the process aborts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from diffcore_hf.core.errors import UserError, innermost_cause

if TYPE_CHECKING:
    import pyarrow as pa

_REMEDY = "Export the dataset again"
_Source = Path | IO[bytes]


def read_columns(source: _Source, name: str, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a shard.

    Args:
        source: path of the file, or an open file.
        name: path of the shard in the dataset, for the error message.
        columns: names of the columns.

    Raises:
        UserError: the file is not Parquet, or lacks a column.
    """
    import pyarrow.parquet as pq

    with _damage_as_user_error(name), pq.ParquetFile(source) as file:
        _check_columns(file.schema_arrow.names, name, columns)
        return _valid(file.read(columns=list(columns), use_threads=False))


def read_batches(source: _Source, name: str, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """Read some columns of a shard, at most `rows` rows at a time; raises as `read_columns` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _damage_as_user_error(name), pq.ParquetFile(source) as file:
        _check_columns(file.schema_arrow.names, name, columns)
        for batch in file.iter_batches(rows, columns=list(columns), use_threads=False):
            yield _valid(pa.Table.from_batches([batch]))


def read_groups(source: _Source, name: str, column: str, rows: Collection[int]) -> Iterator[tuple[int, pa.Table]]:
    """Read one column of the row groups that contain some rows, one row group at a time.

    Args:
        source: path of the file, or an open file.
        name: path of the shard in the dataset, for the error message.
        column: name of the column.
        rows: indices of rows of the shard.

    Yields:
        The index of the first row of a row group, and its rows.

    Raises:
        UserError: the file is not Parquet, or lacks the column.
    """
    import pyarrow.parquet as pq

    with _damage_as_user_error(name), pq.ParquetFile(source) as file:
        _check_columns(file.schema_arrow.names, name, [column])
        start = 0
        for group in range(file.metadata.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if any(start <= row < stop for row in rows):
                yield start, file.read_row_group(group, columns=[column], use_threads=False)
            start = stop


def row_count(source: _Source, name: str) -> int:
    """Return the number of rows of a shard, read from its footer.

    Raises:
        UserError: the file is not Parquet.
    """
    import pyarrow.parquet as pq

    with _damage_as_user_error(name):
        return pq.ParquetFile(source).metadata.num_rows


def schema(source: _Source, name: str) -> pa.Schema:
    """Return the schema of a shard.

    Raises:
        UserError: the file is not Parquet.
    """
    import pyarrow.parquet as pq

    with _damage_as_user_error(name):
        return pq.read_schema(source)


def column_names(source: _Source, name: str) -> list[str]:
    """Return the names of a shard's columns.

    Raises:
        UserError: the file is not Parquet.
    """
    import pyarrow.parquet as pq

    with _damage_as_user_error(name):
        return list(pq.read_schema(source).names)


def _valid(table: pa.Table) -> pa.Table:
    """Return the table if all its offsets and texts are valid. Parquet can contain texts that are not UTF-8."""
    table.validate(full=True)
    return table


def _check_columns(existing: Sequence[str], name: str, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in existing:
            raise UserError(f"{name} has no column {column!r}; its columns: {', '.join(existing)}. {_REMEDY}")
        if existing.count(column) > 1:
            raise UserError(f"{name} has {existing.count(column)} columns named {column!r}. {_REMEDY}")


@contextmanager
def _damage_as_user_error(name: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        # Some kinds of damage raise a plain OSError without errno. Errors of the network and the disk are different.
        if not isinstance(error, pa.ArrowException) and (type(error) is not OSError or error.errno is not None):
            raise
        raise UserError(f"{name} cannot be read as Parquet: {innermost_cause(error)}. {_REMEDY}") from error
