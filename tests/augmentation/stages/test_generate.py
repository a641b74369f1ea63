"""Tests of the stage `Generate`, which adds a generated image to each row."""

from __future__ import annotations

import dataclasses
import io

import PIL.Image
import pytest
import torch

from diffcore_hf.augmentation.stages.generate import Generate
from diffcore_hf.augmentation.stages.score import Score
from diffcore_hf.core import images


def test_generate_and_score_work_as_separate_stages(planned, model, tower, cells):
    ds = Generate(model).map(planned)
    ds = Score(tower).map(ds)
    assert [image.size for image in ds["generated_image"]] == [(16, 16)] * 4
    assert all(PIL.Image.open(io.BytesIO(cell["bytes"])).format == "JPEG" for cell in cells(ds, "generated_image"))
    assert all(-1 <= value <= 1 for value in ds["similarity"])


def test_the_columns_equal_the_output_of_the_core(planned, model, cells):
    stage = Generate(model, image_format="png")
    tensor = stage.generate(planned["prompt"][:], planned["negative_prompt"][:], planned["seed"][:])
    assert tensor.dtype == torch.uint8
    stored = [images.to_array(images.decode(cell)) for cell in cells(stage.map(planned), "generated_image")]
    assert all((a == b.permute(1, 2, 0).numpy()).all() for a, b in zip(stored, tensor, strict=True))


@pytest.mark.parametrize(("store_size", "side"), [(8, 8), (16, 16), (512, 16), (None, 16)])
def test_stored_images_are_reduced_to_the_store_size(store_size, side, planned, model):
    ds = Generate(model, store_size=store_size, image_format="webp").map(planned.select([0]))
    assert ds[0]["generated_image"].size == (side, side)


def test_a_failed_row_has_a_null_image(planned, model, tower, caplog):
    stage = Generate(model)
    decode = stage.strategy.model.load().vae.decode

    def black(latents, **options):
        image = decode(latents, **options)[0]
        image[1] = 0.0
        return (image,)

    stage.strategy.model.load().vae.decode = black
    ds = Score(tower).map(stage.map(planned, batch_size=2, load_from_cache_file=False))
    assert [image is None for image in ds["generated_image"]] == [False, True, False, True]
    assert [value is None for value in ds["similarity"]] == [False, True, False, True]
    assert "seed 2: invalid" in caplog.text


def test_a_model_that_cannot_be_loaded_raises_its_error_once(planned, model, caplog):
    stage = Generate(dataclasses.replace(model, path="/nowhere/at/all"))
    with pytest.raises(ValueError, match=r"^/nowhere/at/all: this pipeline is neither an existing path nor a Hub id"):
        stage(["a bird"] * 2, [None] * 2, [0, 1])
    assert caplog.text == ""
