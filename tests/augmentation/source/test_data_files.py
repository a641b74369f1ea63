"""Tests of data files in a local folder: their splits, their cards, and the image files that their cells name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet
import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value
from small_photos import photos
from source_folders import entries, write, write_images

from diffcore_hf.augmentation.source import file_kinds, report_text
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.source.report import make_report
from diffcore_hf.augmentation.source.split_names import split_of_file
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError


def unreadable(source: Path, **keys: str) -> Mapping[int, str]:
    return load_source(SourceConfig(str(source), **keys)).unreadable["train"]


@pytest.mark.parametrize("beside", [["cover.jpg"], ["assets/1.jpg", "assets/2.jpg", "a.jpg", "[b].jpg"]])
def test_parquet_files_are_read_with_their_splits_beside_any_number_of_photos(tmp_path, beside):
    for name, counts in (("train-00000-of-00001", [3, 2]), ("test-[0]", [1, 1])):
        photos(counts).to_parquet(tmp_path / f"data/{name}.parquet")
    write_images(tmp_path, *beside)
    source = load_source(SourceConfig(str(tmp_path)))
    assert {name: len(rows) for name, rows in source.splits.items()} == {"train": 5, "test": 2}
    assert source.read == ("data/test-[0].parquet", "data/train-00000-of-00001.parquet")
    assert sorted(file.path for file in source.unread) == sorted(beside)


def test_the_json_files_of_a_saved_dataset_are_no_findings(tmp_path):
    DatasetDict(train=photos([3, 2])).save_to_disk(tmp_path)
    source = load_source(SourceConfig(str(tmp_path)))
    assert {file.reason for file in source.unread} == {file_kinds.DOCUMENT}
    assert report_text.findings(make_report(source, source.names)) == []


@pytest.mark.parametrize(
    "path, split",
    [
        ("x.parquet", "train"), ("data/test-00000-of-00002.parquet", "test"), ("val/0.parquet", "validation"),
        ("test/train.parquet", "train"), ("trainer.parquet", "train"),
    ],
)  # fmt: skip
def test_the_name_of_a_data_file_gives_its_split(path, split):
    assert split_of_file(path) == split


def test_the_error_for_a_card_with_missing_files_has_a_remedy_that_reads_the_photos(tmp_path):
    write_images(tmp_path, "cat", "dog")
    write(tmp_path / "README.md", b"---\nconfigs:\n- config_name: default\n  data_files: '*.parquet'\n---\n")
    with pytest.raises(UserError, match="cannot be loaded") as error:
        load_source(SourceConfig(str(tmp_path)))
    layout = re.search(r", or --source\.layout (\w+), which reads the photos$", str(error.value)).group(1)
    assert len(load_source(SourceConfig(str(tmp_path), layout=layout)).rows) == 8


def test_a_missing_file_in_a_cell_is_not_listed(tmp_path):
    write_images(tmp_path, "a/images/1.jpg", "a/images/2.jpg", "a/3.jpg")
    write(tmp_path / "a/metadata.csv", b"file_name,label\nnowhere.jpg,cat\nimages/1.jpg,dog\n")
    source = load_source(SourceConfig(str(tmp_path), layout="files"))
    assert {*source.read, *(file.path for file in source.unread)} == entries(tmp_path)


def test_the_reason_for_a_cell_outside_the_folder_names_an_option_that_works(tmp_path):
    write_images(tmp_path, "other/x.jpg", "elsewhere/y.jpg")
    write_images(tmp_path / "photos/images", "z.jpg")
    (tmp_path / "photos/images/y.jpg").symlink_to(tmp_path / "elsewhere/y.jpg")
    names = ("photos/images/z.jpg", "photos/images/y.jpg", "other/x.jpg")
    rows = {"image": [{"bytes": None, "path": str(tmp_path / name)} for name in names], "label": ["a", "b", "b"]}
    table = Dataset.from_dict(rows, features=Features({"image": Image(), "label": Value("string")}))
    pyarrow.parquet.write_table(table.data.table, tmp_path / "photos/train.parquet")
    refused = unreadable(tmp_path / "photos")
    assert list(refused) == [1, 2]
    for row, value in ((1, {"outside": "outside"}), (2, {"FOLDER": str(tmp_path / "other")})):
        option, word = re.search(r"^the file is outside the dataset \(--source\.(\w+) (\w+)\)$", refused[row]).groups()
        assert list(unreadable(tmp_path / "photos", **{option: value[word]})) == [3 - row]
