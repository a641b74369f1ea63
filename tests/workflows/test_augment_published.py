"""Tests of the content of an output folder: its files, its columns and the values of its rows."""

import io
from pathlib import Path

import numpy as np
import pytest
from datasets import (
    DatasetDict,
    Image,
    concatenate_datasets,
    load_dataset,
)
from PIL import Image as Pillow
from run_folders import attempts_of, contents, go, manifest, published, rows, sha256, tree
from small_photos import CLASSES, photos

from diffcore_hf.core import seeding
from diffcore_hf.core.schema import ADDED_COLUMNS, CONFIGS, attempts_features, classes_features, references_features


def test_the_output_folder_has_the_files_of_a_hub_repository(done):
    names = published(done.folder.path)
    shards = {name for name in names if name.endswith(".parquet")}
    assert {Path(name).parts[0] for name in shards} == {"data", "generated", "attempts", "references", "classes"}
    assert all(Path(name).name.startswith("train-00000-of-00001") for name in shards)
    assert set(names) - shards == {"README.md", "diffcore.json", "assets/contact_sheet.png", "assets/similarity.png"}
    listed = {entry["path"] for entry in manifest(done.folder.path)["files"]}
    assert listed == set(names) - {"README.md", "diffcore.json"}
    assert done.folder.faults() == []
    private = {Path(name).parts[1] for name in tree(done.folder.path) if name.startswith(".diffcore")}
    assert private - {"hashes.json"} == {
        "run.json",
        "run.log.jsonl",
        "parts",
        "source.parquet",
        "export.lock",
        "exported.json",
        "figures.json",
    }


def test_every_dataset_configuration_has_its_columns(done, tmp_path):
    configs = {
        config: load_dataset(str(done.folder.path), config, split="train", cache_dir=tmp_path) for config in CONFIGS
    }
    assert configs["default"].column_names == ["image", "label", *ADDED_COLUMNS]
    assert configs["generated"].column_names == ["image", "label", "row_id", "copy", "context", "similarity"]
    for config, features in (("attempts", attempts_features()), ("references", references_features()),
                             ("classes", classes_features())):  # fmt: skip
        assert configs[config].column_names == list(features)
    default = configs["default"]
    assert default.features["image"] == default.features["generated"] == Image()
    assert default.features["label"].names == sorted(CLASSES[:3])


def test_real_and_generated_rows_can_be_concatenated(done):
    both = [rows(done.folder.path, config).select_columns(["image", "label"]) for config in ("default", "generated")]
    assert len(concatenate_datasets(both)) == 10 + done.summary.counts["kept"]


def test_the_published_originals_have_the_bytes_of_the_source(done, folder_of_photos):
    files = sorted(folder_of_photos.rglob("*.*"))
    default, references = rows(done.folder.path), rows(done.folder.path, "references")
    expected = [sha256(file.read_bytes()) for file in files]
    assert [sha256(cell["bytes"]) for cell in default["image"]] == expected
    assert [cell["path"] for cell in default["image"]] == [file.name for file in files]
    assert references["source_sha256"][:] == expected
    assert references["row_id"][:] == default["row_id"][:]


def test_the_columns_of_a_row_are_consistent_with_its_status(done):
    default = rows(done.folder.path)
    for row in default:
        kept = row["status"] == "kept"
        assert row["status"] in ("kept", "exhausted")
        assert [row[name] is not None for name in ("generated", "seed", "similarity")] == [kept] * 3
        assert row["prompt"].endswith(row["context"])
    counts = done.summary.counts
    assert counts | {"rows": 10, "planned": 10, "failed": 0, "pending": 0, "references": 10} == counts
    assert counts["kept"] == default["status"][:].count("kept") > 0
    assert counts["exhausted"] == default["status"][:].count("exhausted") > 0
    assert done.new_attempts == counts["attempts"] == len(attempts_of(done.folder.path))


def test_a_kept_attempt_is_the_counterpart_and_the_row_of_config_generated(done):
    default = {row["row_id"]: row for row in rows(done.folder.path) if row["status"] == "kept"}
    kept = {row["row_id"]: row for row in rows(done.folder.path, "attempts") if row["reason"] == "kept"}
    generated = {row["row_id"]: row for row in rows(done.folder.path, "generated")}
    assert default.keys() == kept.keys() == generated.keys()
    for row_id, row in default.items():
        content = row["generated"]["bytes"]
        assert sha256(content) == kept[row_id]["image_sha256"] == sha256(generated[row_id]["image"]["bytes"])
        assert Pillow.open(io.BytesIO(content)).format == "JPEG"
        assert (row["seed"], row["label"]) == (kept[row_id]["seed"], generated[row_id]["label"])
        assert kept[row_id]["label"] == row["label"]


def test_similarities_equal_the_cosines_of_the_published_embeddings(done):
    unit = {row["row_id"]: row["embedding"].astype(np.float64) for row in rows(done.folder.path, "references")}
    unit = {row_id: row / np.linalg.norm(row) for row_id, row in unit.items()}
    for row in rows(done.folder.path, "attempts"):
        mine = row["embedding"].astype(np.float64)
        assert row["similarity"] == pytest.approx(unit[row["row_id"]] @ mine / np.linalg.norm(mine), abs=1e-6)


def test_the_manifest_contains_no_time_host_or_path(done, folder_of_photos, tiny):
    text = (done.folder.path / "diffcore.json").read_text()
    for secret in (str(done.folder.path), str(folder_of_photos), tiny["sd"], "batch_size", "part_size", "seconds"):
        assert secret not in text


def assert_not_planned(split):
    """Check that no row of a split has a counterpart, and that the status says so."""
    assert split["status"][:] == ["not_planned"] * len(split)
    assert all(row[name] is None for row in split for name in ADDED_COLUMNS if name not in ("row_id", "status"))


def test_other_splits_keep_their_rows_and_get_ids(make, tmp_path):
    ds = DatasetDict({"train": photos([2, 2]), "test": photos([3, 1], size=(30, 20))})
    go(make(tmp_path / "out", source="in-memory", max_attempts=1), ds)
    test = rows(tmp_path / "out", split="test")
    assert contents(test) == contents(ds["test"])
    assert all(name.startswith("test/") for name in test["row_id"])
    assert_not_planned(test)
    references = rows(tmp_path / "out", "references")
    assert [row["embedding"] is not None for row in references] == [True] * 4 + [False] * 4


def test_a_holdout_is_published_as_validation(make, tmp_path):
    go(make(tmp_path / "out", source={"path": "in-memory", "holdout": 0.5}, max_attempts=1), photos([4, 4]))
    train, held = rows(tmp_path / "out"), rows(tmp_path / "out", split="validation")
    below = [seeding.uniform("holdout", 0, row_id) < 0.5 for row_id in (*train["row_id"], *held["row_id"])]
    assert below == [False] * len(train) + [True] * len(held)
    assert (len(held) > 0, len(train) + len(held)) == (True, 8)
    assert_not_planned(held)
    embedded = {row["row_id"] for row in rows(tmp_path / "out", "references") if row["embedding"] is not None}
    assert embedded == set(train["row_id"])
