"""Tests of editing pipelines: the formula of the guidance, and images that do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.editing import Editing
from diffcore_hf.models.model_resolution import check_editing_class, is_editing_class

TEXTS = ["make it snowy", "make it a mosaic", "make it snowy"]
NEGATIVES = ["blurry", None, "dark"]
SEEDS = [1, 2, 3]


@pytest.fixture(scope="module")
def editors(tmp_path_factory):
    """Returns the folders of saved tiny editing pipelines by family."""
    root = tmp_path_factory.mktemp("editors")
    for name, build in tiny_models.EDITORS.items():
        tiny_models.seeded(build).save_pretrained(root / name)
    return {name: root / name for name in tiny_models.EDITORS}


def editing(folder, **options):
    config = ModelConfig(path=str(folder), steps=2, size=16)
    return Editing(config, **({"image_guidance": 1.5} | options))


def photos() -> list[Image.Image]:
    ramp = np.linspace(0, 255, 16).astype(np.uint8)
    return [Image.fromarray(np.stack([ramp[None].repeat(16, 0)] * 3, -1) // (row + 1)) for row in range(3)]


def close(a, b):
    return (a.int() - b.int()).abs().max() <= 1


@pytest.mark.parametrize("name", list(tiny_models.EDITORS))
def test_batch_size_and_order_do_not_matter(name, editors):
    columns = [TEXTS, NEGATIVES, SEEDS, photos()]
    whole = editing(editors[name], batch_size=3).sample(*columns).images
    assert whole.shape == (3, 3, 16, 16)
    backwards = [column[::-1] for column in columns]
    assert close(whole, editing(editors[name], batch_size=1).sample(*backwards).images.flip(0))
    strict = editing(editors[name], strict=True)
    together = strict.sample(*columns).images
    assert torch.equal(strict.sample(*([column[1]] for column in columns)).images, together[1:2])


@pytest.mark.parametrize("name", list(tiny_models.EDITORS))
def test_the_image_and_the_instruction_change_the_result(name, editors):
    model = editing(editors[name])
    first, other = photos()[0], Image.new("RGB", (16, 16), "red")
    base = model.sample(["make it snowy"], [None], [5], [first]).images
    assert not torch.equal(base, model.sample(["make it snowy"], [None], [5], [other]).images)
    assert not torch.equal(base, model.sample(["make it a mosaic"], [None], [5], [first]).images)


def test_one_step_is_the_formula_with_two_guidances(editors):
    model = editing(editors["InstructPix2Pix"])
    pipe = model.load()
    seen = []
    forward, step = pipe.unet.forward, pipe.scheduler.step
    pipe.unet.forward = lambda sample, *given, **more: seen.append(sample) or forward(sample, *given, **more)
    predictions = []

    def spy(prediction, *given, **more):
        predictions.append(prediction.clone())
        return step(prediction, *given, **more)

    pipe.scheduler.step = spy
    model.sample(["make it snowy"], ["blurry"], [5], photos()[:1])
    assert [len(sample) for sample in seen] == [3, 3]  # three evaluations in each of two steps

    @torch.no_grad()
    def eps(text, with_image):
        embeds = pipe._encode_prompt([text], "cpu", 1, False)
        row = seen[0][:1] if with_image else seen[0][2:]
        return forward(row, pipe.scheduler.timesteps[0], encoder_hidden_states=embeds).sample

    negative = eps("blurry", True)
    eq4 = negative + (1 + 2.0) * (eps("make it snowy", True) - negative)
    by_hand = eq4 + (1.5 - 1) * (negative - eps("blurry", False))
    assert torch.allclose(predictions[0], by_hand, atol=1e-5)
    assert not torch.allclose(predictions[0], eq4, atol=1e-4)
    assert seen[0][2, 4:].abs().max() == 0  # the unconditional row has no image


@pytest.mark.parametrize(
    ("pipeline", "edits"),
    [
        ("StableDiffusionInstructPix2PixPipeline", True),
        ("StableDiffusionXLInstructPix2PixPipeline", True),
        ("FluxKontextPipeline", True),
        ("QwenImageEditPipeline", True),
        ("StableDiffusionPipeline", False),
        ("StableDiffusionControlNetPipeline", False),
        ("FluxImg2ImgPipeline", False),
        ("NoSuchPipeline", False),
    ],
)
def test_only_editing_pipelines_are_accepted(pipeline, edits):
    assert is_editing_class(pipeline) is edits
    if edits:
        check_editing_class(pipeline, "org/x")
        return
    with pytest.raises(UserError, match=rf"^org/x: {pipeline} does not edit images by an instruction\. Use an editing"):
        check_editing_class(pipeline, "org/x")
