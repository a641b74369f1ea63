"""Tests of strategy structure: one step equals the formula, and images do not depend on the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_adapters
import tiny_models
import torch
from denoising_steps import recorded_steps
from PIL import Image

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.batch_size import BatchSize
from diffcore_hf.models.diffusion import TextToImage
from diffcore_hf.models.structure import Structure
from diffcore_hf.models.structure_resolution import ControlNet, IPAdapter

TEXTS = ["a red bird", "a blue bird", "a car", "a red bird"]
NEGATIVES = ["blurry", None, "dark", "blurry"]
SEEDS = [11, 12, 13, 14]
FAMILIES = ["SD", "SDXL"]


@pytest.fixture(scope="module")
def structured(pipelines, tmp_path_factory):
    """Returns a function that builds a model of a family with a ControlNet and, by default, an IP-Adapter."""
    root = tmp_path_factory.mktemp("structure")
    weights = {}
    for name in FAMILIES:
        control = tiny_models.seeded(tiny_adapters.save_controlnet, name, root / name / "control")
        adapter = tiny_models.seeded(tiny_adapters.save_ip_adapter, name, root / name / "adapter")
        weights[name] = (
            ControlNet(str(control), None, 0.75),
            IPAdapter(str(adapter), None, "ip_adapter.safetensors", "image_encoder", 0.6),
        )

    models = {}

    def build(name, scale=0.75, adapter_scale=0.6, adapter=True, gamma=2.0, strict=False):
        """Returns a model, which is loaded once for each family."""
        controlnet, ip_adapter = weights[name]
        config = ModelConfig(path=str(pipelines[name]), steps=2, size=16, gamma=gamma)
        if (name, adapter, strict) not in models:
            models[name, adapter, strict] = Structure(
                config, controlnet=controlnet, ip_adapter=ip_adapter if adapter else None, strict=strict
            )
        model = models[name, adapter, strict]
        pipe = model.load()
        model.config, model.controlnet = replace(model.config, gamma=gamma), replace(controlnet, scale=scale)
        if adapter:
            pipe.set_ip_adapter_scale(adapter_scale)
        return model

    return build


def edges(count: int = 4) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 2, (16, 16), np.uint8) * 255).convert("RGB") for _ in range(count)]


def photos(count: int = 4) -> list[Image.Image]:
    return [Image.new("RGB", (30, 20), colour) for colour in ("red", "green", "blue", "white")[:count]]


def close(a, b):
    return (a.int() - b.int()).abs().max() <= 1


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_depends_on_its_own_inputs_alone(name, structured):
    columns = [TEXTS, NEGATIVES, SEEDS, edges(), photos()]
    model = structured(name, adapter_scale=20.0)
    model._batch_size = BatchSize(4)
    whole = model.sample(*columns).images
    assert whole.shape == (4, 3, 16, 16)
    model._batch_size = BatchSize(1)
    assert close(whole, model.sample(*(column[::-1] for column in columns)).images.flip(0))
    base = model.sample(*(column[:1] for column in columns)).images
    for position, other in ((3, edges()[1]), (4, photos()[1])):
        changed = [column[:1] for column in columns]
        changed[position] = [other]
        assert not torch.equal(base, model.sample(*changed).images)


def test_strict_images_are_equal_bit_for_bit_in_any_batches(structured):
    columns = [TEXTS, NEGATIVES, SEEDS, edges(), photos()]
    strict = structured("SD", strict=True)
    together = strict.sample(*columns).images
    assert torch.equal(strict.sample(*([column[2]] for column in columns)).images, together[2:3])


@pytest.mark.parametrize("name", FAMILIES)
def test_scales_of_zero_give_the_pixels_of_the_prompt_alone(name, structured):
    model = structured(name, scale=0, adapter_scale=0)
    ours = model.sample(TEXTS[:2], NEGATIVES[:2], SEEDS[:2], edges(2), photos(2)).images
    assert close(ours, TextToImage(model.config).sample(TEXTS[:2], NEGATIVES[:2], SEEDS[:2]).images)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gamma", [2.0, 0.0])
def test_one_step_is_the_formula(name, gamma, structured):
    """The prediction is Eq. 4 of two evaluations, each with the residuals of the ControlNet times its scale."""
    model = structured(name, scale=0.5, gamma=gamma)
    pipe = model.load()
    seen = recorded_steps(pipe)
    model.sample(["a red bird"], ["blurry" if gamma else None], [7], edges(1), photos(1))
    prediction, t, latents = seen[0]
    pixels = torch.from_numpy(np.array(edges(1)[0])).permute(2, 0, 1)[None].float() / 255
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    photo = processor(photos(1), return_tensors="pt").pixel_values

    @torch.no_grad()
    def eps(text, with_photo):
        added = {}
        if name == "SDXL":
            embeds, _, pooled, _ = pipe.encode_prompt([text], do_classifier_free_guidance=False)
            added = {"text_embeds": pooled, "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]])}
        else:
            embeds, _ = pipe.encode_prompt([text], "cpu", 1, False)
        image = pipe.image_encoder(photo).image_embeds * with_photo
        down, mid = pipe.controlnet(
            latents, t, encoder_hidden_states=embeds, controlnet_cond=pixels, added_cond_kwargs=added, return_dict=False
        )
        return pipe.unet(
            latents,
            t,
            encoder_hidden_states=embeds,
            added_cond_kwargs={**added, "image_embeds": [image[:, None]]},
            down_block_additional_residuals=[0.5 * each for each in down],
            mid_block_additional_residual=0.5 * mid,
        ).sample

    by_hand = eps("a red bird", 1.0)
    if gamma:
        by_hand = (1 + gamma) * by_hand - gamma * eps("blurry", 0.0)
    assert torch.allclose(prediction, by_hand, atol=1e-4)


def test_class_images_without_an_adapter_are_refused(structured):
    model = structured("SD", adapter=False)
    with pytest.raises(ValueError, match=r"1 class images, but the IP-Adapter is None"):
        model.sample(TEXTS[:1], [None], [1], edges(1), photos(1))
    assert model.sample(TEXTS[:1], [None], [1], edges(1)).images.shape == (1, 3, 16, 16)
