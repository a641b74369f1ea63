"""Tests of the reading of shards: by columns, in batches, and with errors for damaged or missing files."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing.hub import parquet


@pytest.fixture
def shard(tmp_path):
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), tmp_path / "shard.parquet")
    return tmp_path / "shard.parquet"


def test_a_shard_is_read_by_columns_and_batches(shard):
    assert parquet.read_columns(shard, "s", ["b"]).to_pydict() == {"b": ["x", "y", "z"]}
    assert [len(table) for table in parquet.read_batches(shard, "s", ["a"], 2)] == [2, 1]
    assert (parquet.row_count(shard, "s"), parquet.column_names(shard, "s")) == (3, ["a", "b"])


@pytest.mark.parametrize("content", [b"x", b"", b"PAR1" + b"junk" * 10 + b"PAR1"])
def test_a_damaged_shard_gives_a_one_line_error(shard, content):
    shard.write_bytes(content)
    for read in (
        lambda: parquet.read_columns(shard, "data/s.parquet", ["a"]),
        lambda: list(parquet.read_batches(shard, "data/s.parquet", ["a"], 2)),
        lambda: parquet.row_count(shard, "data/s.parquet"),
        lambda: parquet.column_names(shard, "data/s.parquet"),
    ):
        with pytest.raises(UserError, match="^data/s.parquet cannot be read as Parquet: ") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_missing_column_gives_a_one_line_error(shard):
    line = "^s has no column 'c'; its columns: a, b. Export the dataset again$"
    with pytest.raises(UserError, match=line):
        parquet.read_columns(shard, "s", ["a", "c"])
    with pytest.raises(UserError, match=line):
        list(parquet.read_batches(shard, "s", ["c"], 2))


def test_a_missing_file_raises_the_error_of_the_operating_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        parquet.row_count(tmp_path / "none.parquet", "s")
