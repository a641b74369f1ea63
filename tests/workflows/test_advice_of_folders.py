"""The advice in messages about output folders, reviews and versions works: each test follows it."""

from __future__ import annotations

import json

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.publishing.hub.versions import check_name, parse_version
from diffcore_hf.workflows.augment import prepare
from diffcore_hf.workflows.export import export

HEADER = "row_id,copy,attempt,verdict,note\n"


def refused(action, *parts):
    """Returns the message of a refused action, and checks that it is one line with these parts."""
    with pytest.raises(UserError) as error:
        action()
    message = str(error.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    return message


def test_other_settings_need_another_output_or_the_earlier_value(copy, make, tmp_path):
    refused(lambda: prepare(make(copy, seed=9)), "seed", "Choose another --output, or use the earlier value")
    prepare(make(tmp_path / "another", seed=9))
    prepare(make(copy))


def test_a_cleaned_folder_needs_another_output(copy, make, tmp_path):
    Folder(copy).clean()
    refused(lambda: prepare(make(copy)), "was cleaned", "--output")
    prepare(make(tmp_path / "another"))


def test_an_export_is_not_continued(copy, make, tmp_path):
    exported = tmp_path / "exported"
    export(str(copy), str(exported), {"filter": {"policy": {"name": "all"}}}, "columns")
    refused(lambda: prepare(make(exported)), "is an export", "Continue the folder that it was exported from")
    prepare(make(copy))


def test_a_damaged_run_file_is_restored_or_left(copy, make, tmp_path):
    file = Folder(copy).run_file
    content = file.read_text()
    file.write_text("{")
    refused(
        lambda: prepare(make(copy)), "is damaged (Expecting property name", "Restore it, or choose another --output"
    )
    prepare(make(tmp_path / "another"))
    file.write_text(content)
    prepare(make(copy))
    assert json.loads(content)


def test_an_output_inside_the_source_needs_another_folder(make, folder_of_photos, tmp_path):
    refused(lambda: prepare(make(folder_of_photos / "out")), "inside the source", "Choose another folder with --output")
    prepare(make(tmp_path / "out"))


@pytest.mark.parametrize(
    ("content", "parts", "mended"),
    [
        ("row_id,copy\n", ("has no column", "row_id,copy,attempt,verdict"), HEADER),
        (HEADER + "train/1,0,0,yes,\n", ("accept", "reject"), HEADER + "train/1,0,0,accept,\n"),
        (HEADER + "train/1,x,0,accept,\n", ("copy",), HEADER + "train/1,0,0,accept,\n"),
        (b"\xff\xfe\x00", ("is not UTF-8 text", "Save it as CSV in UTF-8"), HEADER),
        (HEADER + '"' + "x" * 200_000, ("is not a valid CSV file", "Save it as CSV again"), HEADER),
    ],
    ids=["columns", "verdict", "copy", "encoding", "quotation mark"],
)
def test_a_review_is_mended_or_left_out(content, parts, mended, make, tmp_path):
    file = tmp_path / "review.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: prepare(make(tmp_path / "out", review=str(file))), str(file), *parts)
    file.write_text(mended)
    prepare(make(tmp_path / "out", review=str(file)))
    prepare(make(tmp_path / "out"))


@pytest.mark.parametrize("wrong", ["1", "v1", "1.x", "latest", ""])
def test_a_version_that_is_not_semantic_names_one_that_is(wrong):
    assert parse_version(refused(lambda: parse_version(wrong), "Use e.g. v1.0.0").rpartition(" ")[2])


@pytest.mark.parametrize("wrong", ["cub", "a/b/c", "/cub/"])
def test_a_repository_without_owner_names_one_that_is_accepted(wrong):
    check_name(refused(lambda: check_name(wrong), "Use e.g. org/").rpartition(" ")[2])
