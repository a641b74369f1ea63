"""Tests that follow the remedies in messages about output folders, reviews and versions."""

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


def test_the_remedies_for_a_folder_with_other_settings_work(copy, make, tmp_path):
    refused(lambda: prepare(make(copy, seed=9)), "seed", "Choose another --output, or use the earlier value")
    prepare(make(tmp_path / "another", seed=9))
    prepare(make(copy))


def test_the_remedy_for_a_cleaned_folder_works(copy, make, tmp_path):
    Folder(copy).clean()
    refused(lambda: prepare(make(copy)), "was cleaned", "--output")
    prepare(make(tmp_path / "another"))


def test_the_remedy_for_continuing_an_export_works(copy, make, tmp_path):
    exported = tmp_path / "exported"
    export(str(copy), str(exported), {"filter": {"policy": {"name": "all"}}}, "columns")
    refused(lambda: prepare(make(exported)), "is an export", "Continue the folder that it was exported from")
    prepare(make(copy))


def test_the_remedies_for_a_damaged_run_file_work(copy, make, tmp_path):
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


def test_the_remedy_for_an_output_inside_the_source_works(make, folder_of_photos, tmp_path):
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
def test_the_remedies_for_an_invalid_review_work(content, parts, mended, make, tmp_path):
    file = tmp_path / "review.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: prepare(make(tmp_path / "out", review=str(file))), str(file), *parts)
    file.write_text(mended)
    prepare(make(tmp_path / "out", review=str(file)))
    prepare(make(tmp_path / "out"))


@pytest.mark.parametrize("wrong", ["1", "v1", "1.x", "latest", ""])
def test_the_remedy_for_a_version_that_is_not_semantic_works(wrong):
    assert parse_version(refused(lambda: parse_version(wrong), "Use e.g. v1.0.0").rpartition(" ")[2])


@pytest.mark.parametrize("wrong", ["cub", "a/b/c", "/cub/"])
def test_the_remedy_for_a_repository_without_an_owner_works(wrong):
    check_name(refused(lambda: check_name(wrong), "Use e.g. org/").rpartition(" ")[2])
