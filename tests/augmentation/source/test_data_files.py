"""Data files of a local folder: their cells may name files of the folder, and others only with an option."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet
from datasets import Dataset, Features, Image, Value
from source_folders import write_images

from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config.augment import SourceConfig


def unreadable(source: Path, **keys: str) -> Mapping[int, str]:
    return load_source(SourceConfig(str(source), **keys)).unreadable["train"]


def test_a_cell_that_leads_out_names_the_option_that_reads_it(tmp_path):
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
