"""Tests of layout `mixed`: its draws depend only on seed and row, and its images are as large as the real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Image
from small_photos import CLASSES, photos, picture

from diffcore_hf.augmentation import arrow_tables, layouts
from diffcore_hf.core import seeding
from diffcore_hf.core.images import UnreadableImage, decode_bytes, to_array
from diffcore_hf.method.mixing import apply_mix, cover, draw_mix, real_share
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import export as export_workflow


def rows(folder: Path, config: str = "default", split: str = "train") -> Dataset:
    """Returns a split of a dataset configuration with undecoded images."""
    shards = json.loads((folder / "diffcore.json").read_text())["configs"][config][split]
    return Dataset.from_parquet([str(folder / name) for name in shards]).cast_column("image", Image(decode=False))


def pixels(cell: dict) -> torch.Tensor:
    return torch.from_numpy(to_array(decode_bytes(cell["bytes"]))).permute(2, 0, 1)


@pytest.fixture(scope="module")
def run(recipe, folder_of_photos, tmp_path_factory) -> Path:
    """Returns a run on ten photos of 24 x 20 pixels. It keeps two counterparts of each photo, stored without loss."""
    out = tmp_path_factory.mktemp("mixed") / "run"
    keys = {"filter.policy": {"name": "all"}, "max_attempts": 1, "copies": 2, "fraction": 0.8, "image_format": "png"}
    augment.run(recipe(source=str(folder_of_photos), output=str(out), **keys), progress=False)
    return out


@pytest.fixture(scope="module")
def mixed(run) -> Path:
    """Returns the export of the run with layout `mixed`."""
    export_workflow.export(run, run.parent / "mixed", {}, "mixed")
    return run.parent / "mixed"


def test_the_unchanged_real_rows_come_first(run, mixed):
    exported, real = rows(mixed), rows(run)
    assert exported.column_names == ["image", "label", "row_id", "is_mixed", "kind", "lambda", "real_share"]
    assert exported.features["label"] == real.features["label"] == ClassLabel(names=sorted(CLASSES[:3]))
    clean = exported.select(range(10))
    assert clean["image"][:] == real["image"][:]
    assert clean["label"][:] == real["label"][:]
    assert clean["row_id"][:] == real["row_id"][:]
    values = {name: set(clean[name]) for name in ("is_mixed", "kind", "lambda", "real_share")}
    assert values == {"is_mixed": {False}, "kind": {None}, "lambda": {None}, "real_share": {1.0}}


def test_every_counterpart_of_copy_0_is_mixed_once_by_equations_6_to_8(run, mixed):
    pairs = {row["row_id"]: row for row in rows(run).cast_column("generated", Image(decode=False)) if row["generated"]}
    mixes = rows(mixed).select(range(10, 18))
    assert mixes["row_id"][:] == list(pairs)  # eight of ten rows, in the order of the source
    assert len(rows(mixed, "generated")) == 16
    for row in mixes:
        pair = pairs[row["row_id"]]
        draw = draw_mix(seeding.generator("mixed", 0, row["row_id"], 0))
        real = pixels(pair["image"])
        expected = apply_mix(real, cover(pixels(pair["generated"]), 20, 24), draw)
        assert torch.equal(pixels(row["image"]), expected)
        assert (row["is_mixed"], row["label"]) == (True, pair["label"])
        assert row["kind"] == ("pixel" if draw.pixel else "patch")
        assert row["lambda"] == np.float32(draw.lam)
        assert row["real_share"] == np.float32(real_share(draw, 20, 24))
    assert set(mixes["kind"]) == {"pixel", "patch"}


def test_windows_of_any_size_give_the_same_bytes(run, mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_tables, "WINDOW", 4)
    monkeypatch.setattr(layouts, "MIXED_WINDOW", 3)
    export_workflow.export(run, tmp_path / "again", {}, "mixed")
    for name in ("diffcore.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (mixed / name).read_bytes()


def test_other_splits_have_no_mixed_rows(recipe, tmp_path):
    keys = {"filter.policy": {"name": "all"}, "max_attempts": 1, "source": {"path": "in-memory", "holdout": 0.25}}
    augment.run(recipe(output=str(tmp_path / "run"), **keys), photos([4, 4]), progress=False)
    export_workflow.export(tmp_path / "run", tmp_path / "out", {}, "mixed")
    held = rows(tmp_path / "out", split="validation")
    assert sum(rows(tmp_path / "out")["is_mixed"]) == 8 - len(held)
    assert (held["is_mixed"][:], held["real_share"][:]) == ([False] * len(held), [1.0] * len(held))
    assert len(held) > 0


def test_an_undecodable_image_is_counted_once_and_not_mixed(run, mixed, tmp_path, monkeypatch, caplog):
    real, broken = layouts.decode, (picture(0, 0), picture(2, 1, image_format="PNG"))

    def decode(cell):
        if cell["bytes"] in broken:
            raise UnreadableImage("broken")
        return real(cell)

    monkeypatch.setattr(layouts, "decode", decode)
    monkeypatch.setattr(layouts, "MIXED_WINDOW", 3)
    export_workflow.export(run, tmp_path / "out", {}, "mixed")
    lost = {row["row_id"] for row in rows(run) if row["image"]["bytes"] in broken and row["generated"]}
    before, after = rows(mixed), rows(tmp_path / "out")
    assert lost
    assert after[:10] == before[:10]
    assert list(after)[10:] == [row for row in list(before)[10:] if row["row_id"] not in lost]
    messages = [record.getMessage() for record in caplog.records if "no mixed image" in record.getMessage()]
    assert messages == [f"{len(lost)} real images cannot be decoded, so they have no mixed image"]


@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_layout_mixed_is_refused_if_originals_are_left_out(run, tmp_path, layout):
    without = {"include_originals": False}
    with pytest.raises(ValueError, match="include_originals is false, but the images of layout mixed contain") as error:
        export_workflow.export(run, tmp_path / "out", without, "mixed")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    export_workflow.export(run, tmp_path / "out", without, layout)


def test_a_source_with_a_column_of_layout_mixed_is_refused_before_anything_is_written(recipe, tmp_path):
    ds = photos([2, 2]).rename_column("label", "kind")
    keys = {"filter.policy": {"name": "all"}, "max_attempts": 1, "source": {"path": "in-memory", "label": "kind"}}
    augment.run(recipe(output=str(tmp_path / "run"), **keys), ds, progress=False)
    with pytest.raises(ValueError, match="source.label is 'kind', which is also a column of layout mixed"):
        export_workflow.export(tmp_path / "run", tmp_path / "out", {}, "mixed")
    assert not (tmp_path / "out").exists()
