"""Tests of image cells with hostile paths: training reads files only in the folder or the Hub cache of its data."""

from __future__ import annotations

import numpy as np
import pytest
from hostile import CANARY, encoded, outside_files, write_parquet
from PIL import Image as Pillow
from small_photos import photos, picture

from diffcore_hf.config.train import DataConfig, MixConfig
from diffcore_hf.core.image_files import ImageFiles
from diffcore_hf.core.images import UnreadableImage
from diffcore_hf.training.data import pairs
from diffcore_hf.training.data.loader import ScoredRows
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.data.transform import IGNORED, MixTransform


@pytest.fixture
def folder(tmp_path):
    """Writes a Parquet dataset of eight rows and returns its folder.

    Six rows have the bytes of an image. One row names an image file in the folder, and one row a file outside of it.
    """
    (tmp_path / "data").mkdir()
    own = tmp_path / "data" / "own.png"
    own.write_bytes(picture(0, 7, image_format="PNG"))
    rows = photos([4, 4])
    cells = [{"bytes": picture(row % 2, row), "path": None} for row in range(6)]
    cells += [{"bytes": None, "path": str(own)}, {"bytes": None, "path": str(outside_files(tmp_path / "o")["image"])}]
    rows = type(rows).from_dict({"image": cells, "label": [row % 2 for row in range(8)]}, features=rows.features)
    write_parquet(rows, tmp_path / "data" / "train.parquet")
    return tmp_path / "data"


def test_a_cell_outside_the_dataset_gives_a_black_image_with_the_ignored_label(folder):
    data = load_data(DataConfig(path=str(folder), holdout=0.25), MixConfig(mode="off"))
    protocol = MixTransform(16).protocol
    for split in (data.train, data.test):
        batch = ScoredRows(split, data.columns.image, protocol, data.files).__getitems__(range(len(split)))
        cells = split.rows[:]["image"].to_pylist()
        black = [not image.any() for image in batch["images"]]
        assert black == [str(cell["path"]).endswith("private.png") for cell in cells]
        assert [label == IGNORED for label in batch["labels"].tolist()] == black


def test_a_transform_reads_no_path_without_a_folder(folder):
    own = {"bytes": None, "path": str(folder / "own.png")}
    batch = {"image": [own], "label": [0]}
    blind = MixTransform(16, probability=0, normalise=False)
    assert not blind.samples(batch, [0])[0].pixels.any()
    seeing = MixTransform(16, probability=0, normalise=False, files=ImageFiles((str(folder.resolve()),)))
    assert seeing.samples(batch, [0])[0].pixels.any()


@pytest.mark.parametrize("path", ["/proc/self/environ", "/dev/zero", "$HOME/a.png", "../a.png", "/a\0b"])
def test_hostile_paths_have_a_reason(folder, path):
    with pytest.raises(UnreadableImage) as error:
        pairs.decoded({"bytes": None, "path": path}, ImageFiles((str(folder.resolve()),)))
    assert CANARY not in str(error.value)


def test_a_large_image_is_reduced_before_it_is_framed(monkeypatch):
    monkeypatch.setattr(pairs, "MOST_PIXELS", 1000)
    image = Pillow.fromarray(np.full((100, 80, 3), 9, np.uint8))
    assert pairs.decoded({"bytes": encoded(image), "path": None}).shape == (3, 34, 27)
