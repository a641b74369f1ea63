"""Tests of text files that a key of a recipe names."""

import os

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.list_files import ListFile, read_list_file

LIMIT = 10


def read(path, max_bytes=LIMIT):
    return read_list_file(str(path), key="some.key", items="rows", remedy="Leave it out", max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        (b"a\r\nb\n", "a\r\nb\n"),
        (b"\xef\xbb\xbfa", "a"),
        ("\u00e9".encode(), "\u00e9"),
        (b"a" * LIMIT, "a" * LIMIT),
    ],
    ids=["empty", "line ends", "byte order mark", "two bytes", "the largest size"],
)
def test_text_and_bytes_of_a_file(tmp_path, content, text):
    (tmp_path / "list.txt").write_bytes(content)
    assert read(tmp_path / "list.txt") == ListFile(text, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a" * (LIMIT + 1), "has more than 0 MiB. List fewer rows"),
        (b"\xff", "is not UTF-8 text (invalid start byte). Save it as text in UTF-8"),
    ],
)
def test_a_large_file_and_other_bytes_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"some.key {path} ")
    assert message.partition(" (")[0] in str(error.value) and str(error.value).endswith(message.rpartition(". ")[2])
    path.write_bytes(b"a\n")
    assert read(path).text == "a\n"


def test_a_path_that_is_not_a_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", "/dev/zero", "a" * 5000):
        with pytest.raises(UserError, match="^some.key is .*, which is not a file. Leave it out$"):
            read(path)
