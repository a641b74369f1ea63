"""Tests of `plan --report`, which writes the report of the source and replaces only an earlier report."""

import json
import os

import pytest
from small_photos import write_photos

from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.source.report import make_report
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.workflows.source_report import check_report_file, write_report


@pytest.fixture
def report(tmp_path):
    root = write_photos(tmp_path / "photos", [2, 3])
    (root / "notes.txt").write_text("not an image")
    source = load_source(SourceConfig(path=str(root)))
    return make_report(source, source.names)


def test_the_file_has_all_names_and_an_earlier_report_is_replaced(report, tmp_path):
    path = tmp_path / "report.json"
    for _ in range(2):
        write_report(report, str(path))
        content = json.loads(path.read_text())
        assert content["unread"] == [
            {"reason": "file that is not an image", "folder": ".", "names": ["notes.txt"], "details": [".txt"]}
        ]
        assert sum(content["rows"]["train"].values()) == sum(report.rows["train"].values())


@pytest.mark.parametrize("content", [b"my notes", b"[]", b'{"format": "another"}', b"\xff\xfe"])
def test_a_file_that_is_no_report_is_not_replaced(report, tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a report of a source. Choose another file name"):
        write_report(report, str(path))
    assert path.read_bytes() == content


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(UserError, match="Choose another file name"):
        check_report_file(str(tmp_path))


def test_a_link_is_not_followed_to_another_file(report, tmp_path):
    target = tmp_path / "secret.txt"
    target.write_text("secret")
    (tmp_path / "report.json").symlink_to(target)
    with pytest.raises(UserError):
        write_report(report, str(tmp_path / "report.json"))
    assert target.read_text() == "secret"


def test_a_path_below_a_file_is_refused_before_the_source_is_read(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(UserError, match=r"notes\.txt is not a folder\. Choose another file name"):
        check_report_file(str(tmp_path / "notes.txt" / "report.json"))
    check_report_file(str(tmp_path / "new" / "report.json"))


def test_a_file_of_any_size_is_recognised_by_its_start(report, tmp_path):
    with open(tmp_path / "large.json", "w") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="is not a report of a source"):
        check_report_file(str(tmp_path / "large.json"))
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    for name in ("fifo.json", "device.json"):
        with pytest.raises(UserError, match="is not a report of a source"):
            check_report_file(str(tmp_path / name))
