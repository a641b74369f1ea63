"""Tests of the file that `select.rows` names."""

import os

import pytest

from diffcore_hf.augmentation import row_list
from diffcore_hf.augmentation.row_list import read_row_list
from diffcore_hf.core.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "train/1\ntrain/2\n",
        "\ufefftrain/1\r\n\r\n  train/2  \r\ntrain/1\r\n",
        "row_id\ntrain/1\ntrain/2\n",
        'loss, row_id, note\n1,train/1,"a, b"\n2,train/2,\n',
        '"row_id","loss"\n"train/1","1"\n"train/2","2"\n',
    ],
    ids=["lines", "blanks and repeats", "a heading alone", "CSV", "CSV with quotation marks"],
)
def test_lines_and_csv_give_the_ids_in_order_each_once(tmp_path, text):
    path = tmp_path / "rows.txt"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_row_list(str(path)).ids == ("train/1", "train/2")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "lists no row"),
        (b"row_id\n", "lists no row"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"\xff\xfet\x00", "has a byte 0, so it is no text in UTF-8"),
        (b"train/1\n" * 20, "has more than 0 MiB"),
        (b'row_id,note\ntrain/1,"' + b"a" * 140_000, "is not a valid CSV file"),
    ],
    ids=["empty", "heading", "bytes", "UTF-16", "large", "open quotation mark"],
)
def test_a_file_that_is_no_list_is_one_line(tmp_path, monkeypatch, content, message):
    if "MiB" in message:
        monkeypatch.setattr(row_list, "MAX_BYTES", 100)
    (tmp_path / "rows.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_row_list(str(tmp_path / "rows.txt"))
    assert "\n" not in str(error.value)


def test_a_folder_a_pipe_and_a_missing_file_are_refused_before_they_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "nowhere", "/dev/zero", "a" * 300):
        with pytest.raises(UserError, match="which is not a file. Use --select.rows FILE"):
            read_row_list(str(path))
