"""Tests of the keys that select what is published: originals, rejected images, formats and names of columns."""

import io

import pyarrow.parquet as pq
import pytest
from datasets import (
    Dataset,
    DatasetDict,
    Features,
    Image,
    concatenate_datasets,
)
from PIL import Image as Pillow
from run_folders import attempts_of, go, rows, sha256
from small_photos import photos, picture

from diffcore_hf.core.schema import ADDED_COLUMNS
from diffcore_hf.workflows.export import export


def test_a_dataset_can_be_published_without_originals(make, tmp_path):
    ds = DatasetDict({"train": photos([2, 2]), "test": photos([1, 1])})
    go(make(tmp_path / "out", source="in-memory", max_attempts=1, include_originals=False), ds)
    for split in ("train", "test"):
        assert rows(tmp_path / "out", split=split)["image"][:] == [None] * len(ds[split])
    assert rows(tmp_path / "out", "references")["source_sha256"][0] == sha256(picture(0, 0))


@pytest.mark.parametrize("include_originals", [False, True])
def test_other_image_columns_are_published_only_with_the_originals(make, tmp_path, include_originals):
    from datasets import List, Value

    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        file.write_bytes(picture(0, number + 10))
    more = {
        "whole": [str(file) for file in files],
        "views": [[str(file), None] for file in files],
        "part": [{"mask": str(file), "area": 3} for file in files],
    }
    kinds = Features({"whole": Image(), "views": List(Image()), "part": {"mask": Image(), "area": Value("int32")}})
    ds = concatenate_datasets([photos([2, 2]), Dataset.from_dict(more, features=kinds)], axis=1)
    source = {"path": "in-memory", "root": str(tmp_path)}
    recipe = make(tmp_path / "out", source=source, max_attempts=1, include_originals=include_originals)
    go(recipe, DatasetDict({"train": ds}))
    [shard] = (tmp_path / "out" / "data").iterdir()
    for row, file in zip(pq.read_table(shard).to_pylist(), files, strict=True):
        cell = {"bytes": file.read_bytes(), "path": file.name}
        columns = (row["whole"], row["views"], row["part"])
        assert columns == ((cell, [cell, None], {"mask": cell, "area": 3}) if include_originals else (None, None, None))
    assert str(tmp_path).encode() not in shard.read_bytes()


@pytest.mark.parametrize("include_rejected", [False, True])
def test_rejected_images_are_published_only_if_requested(done, tmp_path, include_rejected):
    export(done.folder.path, tmp_path / "out", {"include_rejected": include_rejected})
    for row in rows(tmp_path / "out", "attempts"):
        shown = include_rejected or row["reason"] == "kept"
        assert (row["image"] is not None) == shown
        if shown:
            assert sha256(row["image"]["bytes"]) == row["image_sha256"]


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_generated_images_can_be_stored_without_loss(make, tmp_path, image_format):
    go(make(tmp_path / "out", image_format=image_format, max_attempts=1, limit=2, **{"filter.policy": {"name": "all"}}))
    [first, second] = rows(tmp_path / "out", "generated")["image"]
    assert Pillow.open(io.BytesIO(first["bytes"])).format == image_format.upper()
    assert Pillow.open(io.BytesIO(second["bytes"])).size == (16, 16)


def test_stored_images_can_be_smaller_than_the_scored_images(make, done, tmp_path):
    go(make(tmp_path / "out", store_size=8))
    assert Pillow.open(io.BytesIO(rows(tmp_path / "out", "generated")[0]["image"]["bytes"])).size == (8, 8)
    assert attempts_of(tmp_path / "out") == attempts_of(done.folder.path)


def test_every_added_column_has_the_prefix(make, tmp_path):
    ds = photos([2, 2]).add_column("seed", ["a", "b", "c", "d"])
    go(make(tmp_path / "out", source="in-memory", max_attempts=1, columns={"prefix": "dc_"}), ds)
    default = rows(tmp_path / "out")
    assert default.column_names == ["image", "label", "seed", *(f"dc_{name}" for name in ADDED_COLUMNS)]
    assert default["seed"][:] == ["a", "b", "c", "d"]
