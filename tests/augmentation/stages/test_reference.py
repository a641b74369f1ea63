"""Tests of the stage `Reference`, which embeds real images and the captions of classes."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from diffcore_hf.augmentation.stages.attempt import Attempt
from diffcore_hf.augmentation.stages.reference import Reference
from diffcore_hf.core import images, schema
from diffcore_hf.core.batch_size import BatchSize


def test_the_stage_adds_facts_with_the_features_of_the_schema(planned, photos, tower):
    progress = []
    stage = Reference(tower, on_progress=progress.append)
    ds = stage.map(planned, batch_size=len(planned), keep_in_memory=True)
    assert all(ds.features[name] == schema.reference_facts()[name] for name in stage.adds)
    assert ds["source_sha256"][:] == [images.sha256(cell["bytes"]) for cell in photos]
    assert ds["reason"][:] == [None] * 4
    pixels = [torch.from_numpy(images.to_array(images.decode(cell))).permute(2, 0, 1) for cell in photos]
    expected = stage.tower.embed(pixels).half().float().numpy()
    assert np.allclose(np.array(ds["embedding"][:], np.float32), expected, atol=1e-3)
    assert progress == [4]


def test_unreadable_rows_have_a_reason(photos, tower):
    garbage = {"bytes": b"no image at all", "path": None}
    facts = Reference(tower)([photos[0], garbage, None, {"bytes": None, "path": "/nowhere"}, photos[1]])
    assert [reason and reason.split(":")[0] for reason in facts["reason"]] == [None, *["unreadable"] * 3, None]
    assert [row is None for row in facts["embedding"]] == [False, True, True, True, False]
    assert facts["source_sha256"][1:4] == [None] * 3
    assert len(facts["embedding"][4]) == 20


def test_each_image_is_decoded_once(photos, tower, monkeypatch):
    count = []
    decode = images.decode_bytes
    monkeypatch.setattr(images, "decode_bytes", lambda *content: (count.append(1), decode(*content))[1])
    stage = Reference(tower)
    stage.tower._batch_size = BatchSize(3)
    progress = []
    stage.on_progress = progress.append
    facts = stage(photos * 2)
    assert len(count) == 8
    assert progress == [3, 3, 2]
    assert np.allclose(facts["embedding"][:4], facts["embedding"][4:], atol=1e-3)


def test_strict_embeddings_are_equal_bit_for_bit_in_any_batches(photos, tower):
    whole = Reference(tower, strict=True)(photos * 5)["embedding"]
    parts = [row for cut in (photos, photos * 3, photos) for row in Reference(tower, strict=True)(cut)["embedding"]]
    assert all((a == b).all() for a, b in zip(whole, parts, strict=True))


def test_the_stage_shares_its_tower_and_embeds_captions(recipe, tower):
    reference = Reference(tower)
    assert Attempt(recipe, tower=reference.tower).scoring.tower is reference.tower
    assert reference.embed_text(["a red bird", "a car"]).shape == (2, 20)


@pytest.mark.parametrize("image_format", ["RGBA", "L"])
def test_images_of_other_modes_are_embedded(image_format, tower):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new(image_format, (30, 20)).save(buffer, format="PNG")
    assert Reference(tower)([{"bytes": buffer.getvalue(), "path": None}])["reason"] == [None]


def test_the_policy_does_not_change_the_fingerprint(planned, tower):
    other = dataclasses.replace(tower, references=7)
    assert Reference(other).fingerprint(planned) == Reference(tower).fingerprint(planned)


def png(width, height):
    buffer = io.BytesIO()
    Image.new("L", (width, height), 90).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def test_images_with_an_extreme_aspect_ratio_are_unreadable(photos, tower):
    cells = [photos[0], png(400_000, 1), png(9_000, 1), png(1, 9_000), png(500, 10), photos[1]]
    facts = Reference(tower)(cells)
    assert facts["reason"] == [
        None,
        "unreadable: 400000 x 1, an aspect ratio above 1:50",
        "unreadable: 9000 x 1, an aspect ratio above 1:50",
        "unreadable: 1 x 9000, an aspect ratio above 1:50",
        None,
        None,
    ]
    assert None not in facts["source_sha256"]


def test_an_image_that_the_tower_cannot_prepare_gets_a_reason(photos, tower, monkeypatch):
    stage = Reference(tower)
    prepare = stage.tower.prepare

    def failing(image):
        if image.shape[-2:] == (10, 500):
            raise RuntimeError("crop of 10^9 pixels")
        return prepare(image)

    monkeypatch.setattr(stage.tower, "prepare", failing)
    facts = stage([photos[0], png(500, 10)])
    assert facts["reason"] == [None, "unreadable: not prepared for the image tower: crop of 10^9 pixels"]
    assert facts["source_sha256"][1] == images.sha256(png(500, 10)["bytes"])


def test_a_path_is_read_below_the_folders_of_the_stage_only(photos, tower, tmp_path):
    (tmp_path / "a.jpg").write_bytes(photos[0]["bytes"])
    cell = {"bytes": None, "path": str(tmp_path / "a.jpg")}
    ds = Dataset.from_dict({"image": [cell]}, features=Features({"image": ImageFeature()}))
    columns = {"source_image": "image"}
    refused = Reference(tower).map(ds, columns)
    assert refused["reason"][0].startswith("unreadable: the dataset names a file, and only stored bytes are read")
    files = images.ImageFiles((str(tmp_path.resolve()),))
    assert Reference(tower, files=files).map(ds, columns)["source_sha256"][:] == [images.sha256(photos[0]["bytes"])]


def test_dark_images_of_16_bits_are_counted_in_the_log(photos, tower, caplog):
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16)).save(buffer, "PNG")
    Reference(tower)([photos[0], {"bytes": buffer.getvalue(), "path": None}])
    assert "1 of 2 real images have 16-bit grey of a small range" in caplog.text
    assert "--source.grey_range data" in caplog.text
