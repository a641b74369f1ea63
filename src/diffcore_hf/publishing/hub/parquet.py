"""Parquet: reads shards; a file that is damaged or lacks a column gives an error of one line.

Owns these errors. A shard may come from a repository of another user, so its content is always checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        return file.read(columns=list(columns))


def read_batches(source: _Source, name: str, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """Read some columns of a shard, at most `rows` rows at a time; raises as `read_columns` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _damage_as_user_error(name), pq.ParquetFile(source) as file:
        _check_columns(file.schema_arrow.names, name, columns)
        for batch in file.iter_batches(rows, columns=list(columns)):
            yield pa.Table.from_batches([batch])


def row_count(source: _Source, name: str) -> int:
    """Return the number of rows of a shard, read from its footer.

    Raises:
        UserError: the file is not Parquet.
    """
    import pyarrow.parquet as pq

    with _damage_as_user_error(name):
        return pq.ParquetFile(source).metadata.num_rows


def column_names(source: _Source, name: str) -> list[str]:
    """Return the names of a shard's columns.

    Raises:
        UserError: the file is not Parquet.
    """
    import pyarrow.parquet as pq

    with _damage_as_user_error(name):
        return list(pq.read_schema(source).names)


def _check_columns(existing: Sequence[str], name: str, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in existing:
            raise UserError(f"{name} has no column {column!r}; its columns: {', '.join(existing)}. {_REMEDY}")


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
