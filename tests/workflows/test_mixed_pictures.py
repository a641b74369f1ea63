"""Tests of the picture of mixed images, which shows the samples of a training."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import load_dataset
from small_photos import photos, picture

from diffcore_hf.core.images import decode_bytes
from diffcore_hf.training.data.mixing_view import mixing_rows
from diffcore_hf.training.data.transform import MixTransform
from diffcore_hf.workflows import augment, mixed_pictures


@pytest.mark.parametrize(
    ("sizes", "side"),
    [([(64, 64)], 64), ([(24, 20)], 16), ([(5, 90)], 8), ([(500, 333)], 224), ([(32, 32), (90, 70), (400, 300)], 64)],
)
def test_the_framing_enlarges_no_image(sizes, side):
    assert mixed_pictures.training_size([{"bytes": picture(0, 0, size=size), "path": None} for size in sizes]) == side


def test_the_preview_shows_the_pixels_of_the_training(recipe, tmp_path, monkeypatch):
    keep_all = {"filter.policy": {"name": "all"}, "max_attempts": 1, "columns": {"prefix": "dc_"}}
    out = tmp_path / "out"
    augment.run(recipe(output=str(out), **keep_all), photos([4, 3]), progress=False)
    shown = []
    monkeypatch.setattr(mixed_pictures, "mixed_sheet", lambda tiles, **_: shown.extend(tiles))
    monkeypatch.setattr(mixed_pictures, "png_bytes", lambda sheet: b"")
    mixed_pictures.mixed_batch(out)
    assert len(shown) == 7
    assert {tile.name for tile in shown} == {"red fox", "green frog"}
    assert {tile.context for tile in shown} == {"in snow", "at night"}

    rows = load_dataset(str(out), split="train", cache_dir=tmp_path / "cache")
    mix = MixTransform(16, data=str(out), normalise=False)
    mix.set_epoch(0)
    batch = mixing_rows(rows).with_transform(mix)[:]
    training = {image.numpy().tobytes() for image in batch["pixel_values"][7:]}
    assert {np.moveaxis(np.asarray(decode_bytes(tile.mixed)), -1, 0).tobytes() for tile in shown} == training
    assert {tile.real for tile in shown} == {picture(0, n) for n in range(4)} | {picture(1, n) for n in range(3)}
    assert all(tile.lam == tile.share for tile in shown if tile.pixel)
