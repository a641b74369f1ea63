"""Tests of the reading of small files that a run wrote, if something else is in their place."""

import os

import pytest

from diffcore_hf.core.own_files import read_own_file, read_own_json


@pytest.mark.parametrize(
    "content",
    [
        '{"a": Infinity}',
        '{"a": NaN}',
        '{"a": 1e400}',
        '{"a": -1e30}',
        f'{{"a": [{10**400}]}}',
        "[1]",
        "[" * 100_000,
        f'{{"a": {"[" * 200 + "]" * 200}}}',
    ],
    ids=["infinity", "nan", "large float", "large negative", "large integer", "list", "deep", "levels"],
)
def test_content_that_no_run_writes_is_a_value_error(tmp_path, content):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(ValueError, match="not a|too large|too deep"):
        read_own_json(tmp_path / "file.json")


def test_a_pipe_a_device_and_a_folder_are_not_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "device").symlink_to("/dev/zero")
    for path in (pipe, tmp_path / "device"):
        with pytest.raises(ValueError, match="not a regular file"):
            read_own_file(path)
    with pytest.raises(IsADirectoryError):
        read_own_file(tmp_path)


def test_numbers_in_the_range_are_read(tmp_path):
    (tmp_path / "file.json").write_text('{"a": [1, -2.5, 9007199254740993], "b": null}')
    assert read_own_json(tmp_path / "file.json") == {"a": [1, -2.5, 9007199254740993], "b": None}
