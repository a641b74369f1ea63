"""Tests of guidance: one denoising step of each family in the guidance table equals Eq. 4."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny_models
import torch
from denoising_steps import recorded_steps

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.models import guidance
from diffcore_hf.models.diffusion import TextToImage, resolve_model

GAMMA = 2.0


@torch.no_grad()
def eps(name, pipe, latents, text, size):
    """Returns the prediction of the model for one text, at the only timestep of a schedule of one step."""
    t = pipe.scheduler.timesteps[0]
    if name == "SD":
        embeds, _ = pipe.encode_prompt(text, "cpu", 1, False)
        return pipe.unet(pipe.scheduler.scale_model_input(latents, t), t, encoder_hidden_states=embeds).sample
    if name == "SDXL":
        embeds, _, pooled, _ = pipe.encode_prompt(text, do_classifier_free_guidance=False)
        conditions = {"text_embeds": pooled, "time_ids": torch.tensor([[size, size, 0, 0, size, size]]).float()}
        return pipe.unet(latents, t, encoder_hidden_states=embeds, added_cond_kwargs=conditions).sample
    if name == "SD3":
        embeds, _, pooled, _ = pipe.encode_prompt(text, None, None, do_classifier_free_guidance=False)
        return pipe.transformer(
            hidden_states=latents, timestep=t.expand(1), encoder_hidden_states=embeds, pooled_projections=pooled
        ).sample
    if name == "Z-Image":
        embeds, _ = pipe.encode_prompt(text, do_classifier_free_guidance=False)
        prediction = pipe.transformer([latents[0].unsqueeze(1)], (1000 - t.expand(1)) / 1000, embeds)[0]
        return -torch.stack(prediction)[:, :, 0]
    embeds, pooled, text_ids = pipe.encode_prompt(text)
    image_ids = pipe._prepare_latent_image_ids(1, size // 4, size // 4, "cpu", torch.float32)
    return pipe.transformer(
        hidden_states=latents,
        timestep=t.expand(1) / 1000,
        guidance=torch.tensor([3.5]),
        pooled_projections=pooled,
        encoder_hidden_states=embeds,
        txt_ids=text_ids,
        img_ids=image_ids,
    ).sample


@pytest.mark.parametrize("name", list(tiny_models.PIPELINES))
def test_one_step_is_equation_4(name, pipelines):
    size = 16
    model = TextToImage(ModelConfig(path=str(pipelines[name]), steps=1, gamma=GAMMA, size=size))
    pipe = model.load()
    steps = recorded_steps(pipe)
    model.sample(["a red bird"], ["blurry"], [7])
    last = steps[-1]
    positive, negative = (eps(name, pipe, last.latents, [text], size) for text in ("a red bird", "blurry"))
    by_hand = (1 + GAMMA) * positive - GAMMA * negative
    assert torch.allclose(last.prediction, by_hand, atol=1e-5)
    assert not torch.allclose(positive, negative, atol=1e-4)
    assert not torch.allclose(positive, by_hand, atol=1e-4)
    # The noise depends on the seed only, and is drawn on the CPU.
    noise = torch.randn(1, *_latent_shape(name), generator=torch.Generator().manual_seed(7))
    assert torch.allclose(last.latents.flatten().sort()[0], noise.flatten().sort()[0], atol=1e-5)


def _latent_shape(name):
    return (1, 8, 8) if name == "Flux" else (4, 8, 8)


@pytest.mark.parametrize(
    ("pipeline", "name", "argument", "value"),
    [
        ("StableDiffusionPipeline", "SD", "guidance_scale", 3.0),
        ("StableDiffusionXLPipeline", "SDXL", "guidance_scale", 3.0),
        ("StableDiffusion3Pipeline", "SD3", "guidance_scale", 3.0),
        ("FluxPipeline", "Flux", "true_cfg_scale", 3.0),
        ("ZImagePipeline", "Z-Image", "guidance_scale", 2.0),
    ],
)
def test_each_family_has_its_guidance_argument_and_its_scale(pipeline, name, argument, value):
    family = guidance.guidance_for(pipeline)
    assert (family.name, family.argument, family.scale(GAMMA)) == (name, argument, value)


def test_a_family_outside_the_table_needs_native_guidance():
    with pytest.raises(ValueError, match=r"LatentConsistencyModelPipeline is not in .*SD, SDXL, SD3, Flux.*native"):
        guidance.guidance_for("LatentConsistencyModelPipeline")
    assert guidance.guidance_for("LatentConsistencyModelPipeline", "native") is None


@pytest.mark.parametrize(
    ("gamma", "negatives", "error"),
    [
        (2.0, ["blurry"], None),
        (0.0, [None, ""], None),
        (0.0, [None, "blurry"], "would be ignored"),
        (-1.0, [None], ">= 0"),
    ],
)
def test_negative_prompts_are_checked_against_gamma(gamma, negatives, error, pipelines):
    if error is None:
        guidance.check_negatives(gamma, negatives)
        return
    model = TextToImage(ModelConfig(path=str(pipelines["SD"]), steps=1, gamma=gamma))
    with pytest.raises(ValueError, match=error):
        model.sample(["a bird"] * len(negatives), negatives, [0] * len(negatives))


def test_a_missing_negative_prompt_is_the_unconditional_branch_of_the_family(pipelines):
    """Without a prompt, SDXL was trained with zeros and other families with the empty text. The pipelines do so too."""
    for name, folder in pipelines.items():
        model = TextToImage(ModelConfig(path=str(folder), steps=1, gamma=GAMMA, size=16))
        sampled = model.sample(["a bird"], [None], [3]).images
        pipe, family = model.load(), guidance.guidance_for(type(model.load()).__name__)
        extra = {"negative_prompt": ""} if name == "Flux" else {}
        expected = pipe(
            "a bird",
            num_inference_steps=1,
            height=16,
            width=16,
            generator=torch.Generator().manual_seed(3),
            output_type="pt",
            **{family.argument: family.scale(GAMMA)},
            **extra,
        ).images
        assert (sampled.int() - (expected * 255).round().int()).abs().max() <= 1, name


def test_native_passes_gamma_as_guidance_scale(pipelines):
    model = TextToImage(ModelConfig(path=str(pipelines["SD"]), steps=1, gamma=5.0, guidance="native"))
    native = model.sample(["a bird"], ["blurry"], [0]).images
    from_table = TextToImage(ModelConfig(path=str(pipelines["SD"]), steps=1, gamma=4.0))
    table = from_table.sample(["a bird"], ["blurry"], [0]).images
    assert (native.int() - table.int()).abs().max() <= 1
    flux = TextToImage(ModelConfig(path=str(pipelines["Flux"]), steps=1, gamma=5.0, guidance="native", size=16))
    with pytest.raises(ValueError, match=r"takes no negative prompt with model.guidance native"):
        flux.sample(["a bird"], ["blurry"], [0])


class Plain:
    def __call__(self, prompt, num_inference_steps=1): ...


class Scaled:
    def __call__(self, prompt, guidance_scale=1.0, negative_prompt=None): ...


class Distilled:
    def __call__(self, prompt, guidance_scale=1.0, true_cfg_scale=1.0, negative_prompt=None): ...


@pytest.mark.parametrize(
    ("pipeline", "takes", "arguments"),
    [
        (Plain, (False, False), {"prompt": ["a"]}),
        (Scaled, (True, True), {"prompt": ["a"], "guidance_scale": 2.0}),
        (Distilled, (True, False), {"prompt": ["a"], "guidance_scale": 2.0}),
    ],
)
def test_the_native_guidance_parameters_of_a_pipeline_are_found(pipeline, takes, arguments):
    assert guidance.native_parameters(pipeline) == guidance.native_parameters(pipeline()) == takes
    assert guidance.native_arguments(pipeline(), GAMMA, ["a"], [None]) == arguments


def test_native_guidance_is_resolved_from_the_arguments_of_the_pipeline(pipelines, monkeypatch, caplog):
    def resolved(name):
        info = resolve_model(ModelConfig(path=str(pipelines[name]), gamma=5.0, guidance="native"))[1]
        return info["guidance"], info["takes_negatives"]

    assert resolved("SD") == ({"argument": "guidance_scale", "value": 5.0}, True)
    assert resolved("Flux") == ({"argument": "guidance_scale", "value": 5.0}, False)
    unguided = ModelConfig(path=str(pipelines["SD"]), guidance="native", steps=1, size=16)
    monkeypatch.setattr("diffcore_hf.models.guidance.native_parameters", lambda pipeline: (False, False))
    monkeypatch.setattr("diffcore_hf.models.model_resolution._native_parameters", lambda *pipeline: (False, False))
    assert resolved("SD") == ({"argument": None, "value": None}, False)
    model = TextToImage(unguided)
    model.sample(["a bird"] * 2, [None] * 2, [0, 1])
    assert caplog.text.count("StableDiffusionPipeline has no guidance_scale: model.gamma changes nothing") == 1
    with pytest.raises(ValueError, match=r"takes no negative prompt with model.guidance native"):
        model.sample(["a bird"], ["blurry"], [0])


def test_a_distilled_unet_takes_no_negatives(pipelines, tmp_path):
    folder = tmp_path / "lcm"
    shutil.copytree(pipelines["SD"], folder)
    unet = folder / "unet" / "config.json"
    unet.write_text(json.dumps(json.loads(unet.read_text()) | {"time_cond_proj_dim": 32}))
    info = resolve_model(ModelConfig(path=str(folder), guidance="native"))[1]
    assert info["guidance"]["argument"] == "guidance_scale"
    assert info["takes_negatives"] is False
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "UnknownPipeline"}))
    with pytest.raises(ValueError, match="has no UnknownPipeline"):
        resolve_model(ModelConfig(path=str(folder), guidance="native"))
