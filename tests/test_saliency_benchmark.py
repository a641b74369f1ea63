"""Tests of the measurement of saliency: its images, and a run with the smallest settings."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks import saliency
from benchmarks.masked_birds import counterpart, mask_of, rows, shown_pictures
from diffcore_hf.miniature.scenery import CONTEXTS


def test_the_masks_and_counterparts_of_the_rows():
    pictures = shown_pictures(1)[:2]
    birds = rows(pictures, with_counterparts=True)
    assert birds.column_names == ["image", "label", "scene", "mask", "generated"]
    for row, picture in zip(birds, pictures, strict=True):
        assert np.array_equal(np.asarray(row["mask"]) == 255, mask_of(picture))
        stored = Image.open(io.BytesIO(counterpart(picture)["bytes"]))
        assert row["generated"].tobytes() == stored.tobytes() != row["image"].tobytes()


def test_ten_pictures_of_a_species_show_all_contexts():
    pictures = shown_pictures(10)
    assert len(pictures) == 200
    assert {picture.context for picture in pictures[:10]} == set(CONTEXTS)


def test_the_table_of_unchanged_predictions():
    results = {
        "plain": [{"stay": 0.5, "own": 0.8, "other": 0.6}, {"stay": 0.7, "own": 0.8, "other": 0.6}],
        "mix": [{"stay": 0.9, "own": 0.9, "other": 0.9}, {"stay": 0.9, "own": 0.9, "other": 0.9}],
    }
    lines = saliency.stability_table(results).splitlines()
    assert lines[2].startswith("| plain | 60.0 ± ")
    assert lines[3].startswith("| mix | 90.0 ± 0.0 | no difference seen (+30.0 ± ")


@pytest.mark.slow
def test_the_measurement_writes_its_section_and_its_picture(tmp_path, capsys):
    page = tmp_path / "docs/saliency.md"
    page.parent.mkdir()
    page.write_text("# Page\n\ntext\n", encoding="utf-8")
    settings = ["--arms", "plain", "--seeds", "0", "--steps", "2", "--each", "1", "--work", str(tmp_path / "work")]
    for _ in range(2):  # the second run finds the finished training
        saliency.main([*settings, "--write", str(page)])
    written = page.read_text(encoding="utf-8")
    assert written.startswith(f"# Page\n\ntext\n\n## {saliency.TITLE}\n\n![")
    assert "All 20 test images with a mask:" in written
    assert "with a new random head, the lift of `plain` is" in written
    assert (page.parent / "assets/saliency.png").is_file()
    assert str(tmp_path) not in written
