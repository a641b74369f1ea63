"""Tests of components: weights that are missing, unexpected or of another shape give a one-line error with names."""

from __future__ import annotations

import json
import shutil

import diffusers
import pytest
import tiny_models
import tiny_towers
import torch
import transformers
from safetensors.torch import load_file, save_file

from diffcore_hf.config.augment import FilterConfig, ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.components import component_class, load_network
from diffcore_hf.models.model_resolution import resolve_model
from diffcore_hf.models.pipeline_index import Component
from diffcore_hf.models.pipelines import load_pipeline
from diffcore_hf.models.towers import ImageTower

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


def changed(source, target, file, change):
    """Return a copy of a model folder whose weights in `file` were changed."""
    shutil.copytree(source, target)
    save_file(change(load_file(target / file)), target / file, metadata={"format": "pt"})
    return target


def load(folder):
    return load_pipeline(resolve_model(ModelConfig(path=str(folder), device="cpu"), identify=False)[0])


def without(part):
    return lambda weights: {name: tensor for name, tensor in weights.items() if part not in name}


def replaced(name, make):
    return lambda weights: weights | {name: make(weights)}


def test_a_pipeline_has_the_weights_that_diffusers_loads(pipelines):
    loaded, expected = load(pipelines["SDXL"]), diffusers.StableDiffusionXLPipeline.from_pretrained(pipelines["SDXL"])
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        ours, theirs = getattr(loaded, name).state_dict(), getattr(expected, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert not getattr(loaded, name).training
    assert loaded.scheduler.config.beta_end == expected.scheduler.config.beta_end
    assert loaded.config.force_zeros_for_empty_prompt == expected.config.force_zeros_for_empty_prompt


@pytest.mark.parametrize(
    ("file", "change", "error"),
    [
        (TEXT, without("layers.0"), r"text_encoder lacks 16 tensors? of the model \(.*layers.0.* and 14 more\)"),
        (TEXT, lambda weights: {"nothing": torch.zeros(1)}, r"text_encoder lacks \d+ tensors? of the model"),
        (UNET, without("conv_in.bias"), r"unet lacks 1 tensors? of the model \(conv_in.bias\)"),
        (VAE, without("encoder."), r"vae lacks \d+ tensors? of the model \(encoder"),
        (
            UNET,
            replaced("backdoor.weight", lambda _: torch.ones(2)),
            r"unet has 1 tensor that the model does not use .*\(backdoor.weight",
        ),
        (
            TEXT,
            replaced("backdoor.weight", lambda _: torch.ones(2)),
            r"text_encoder has 1 tensor that the model does not use .*backdoor",
        ),
        (
            UNET,
            replaced("conv_in.bias", lambda _: torch.ones(3)),
            r"unet has 1 tensor of another shape .*\(conv_in.bias",
        ),
        (
            UNET,
            replaced("conv_in.bias", lambda weights: weights["conv_in.bias"].to(torch.int32)),
            r"unet has 1 tensor of another shape or type",
        ),
    ],
)
def test_weights_that_do_not_agree_with_the_model_give_a_one_line_error(file, change, error, pipelines, tmp_path):
    folder = changed(pipelines["SD"], tmp_path / "sd", file, change)
    with pytest.raises(UserError, match=error) as raised:
        load(folder)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{folder}: ")


def test_shapes_are_compared_before_any_weights_are_read(pipelines, tmp_path, monkeypatch):
    change = replaced("decoder.conv_in.bias", lambda _: torch.ones(3))
    folder = changed(pipelines["SD"], tmp_path / "sd", VAE, change)
    monkeypatch.setattr("diffcore_hf.models.components.load_network", None)
    with pytest.raises(UserError, match="vae has 1 tensor of another shape"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (without("text_model"), r"clip lacks \d+ tensors? of the model \(text_model"),
        (without("visual_projection"), r"clip lacks 1 tensors? of the model \(visual_projection"),
        (replaced("backdoor.weight", lambda _: torch.ones(2)), r"clip has 1 tensor that the model does not use"),
        (replaced("logit_scale", lambda _: torch.ones(2)), r"clip has 1 tensor of another shape"),
    ],
)
def test_weights_that_do_not_agree_with_the_tower_give_a_one_line_error(change, error, towers, tmp_path):
    folder = changed(towers["clip"], tmp_path / "clip", "model.safetensors", change)
    with pytest.raises(UserError, match=error) as raised:
        ImageTower(FilterConfig(path=str(folder))).load()
    assert "\n" not in str(raised.value)


def test_the_classifier_of_the_class_that_was_saved_is_not_used(tmp_path):
    tiny_models.seeded(tiny_towers.save_dinov2, tmp_path)
    config = transformers.Dinov2Config.from_pretrained(tmp_path)
    transformers.Dinov2ForImageClassification(config).save_pretrained(tmp_path)
    assert ImageTower(FilterConfig(path=str(tmp_path))).load().config.model_type == "dinov2"


def test_weights_of_a_constant_that_the_library_computes_are_ignored(pipelines, tmp_path):
    ids = torch.arange(16)[None]
    name = "text_model.embeddings.position_ids"
    folder = changed(pipelines["SD"], tmp_path / "sd", TEXT, replaced(name, lambda _: ids))
    cls = component_class(Component("transformers", "CLIPTextModel"), "sd")
    load_network(cls, folder / "text_encoder", "sd", dtype=torch.float32)


def test_a_safety_checker_and_an_old_name_of_its_processor_are_loaded(tmp_path):
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

    tiny_towers.save_clip(tmp_path / "clip")
    config = transformers.CLIPConfig.from_pretrained(tmp_path / "clip")
    tiny_models.sd(StableDiffusionSafetyChecker(config)).save_pretrained(tmp_path / "sd")
    index = tmp_path / "sd" / "model_index.json"
    index.write_text(index.read_text().replace("CLIPImageProcessor", "CLIPFeatureExtractor"))
    pipeline = load(tmp_path / "sd")
    assert type(pipeline.safety_checker) is StableDiffusionSafetyChecker
    assert type(pipeline.feature_extractor).__name__.startswith("CLIPImageProcessor")


def test_a_variant_that_no_component_has_gives_a_one_line_error(pipelines):
    model = ModelConfig(path=str(pipelines["SD"]), device="cpu", variant="fp16")
    with pytest.raises(UserError, match=r"has no weights of model.variant 'fp16'. Use --model.variant null"):
        load_pipeline(resolve_model(model, identify=False)[0])


def test_files_beside_the_weights_are_not_handed_to_the_library(towers, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(towers["clip"], folder)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(towers["siglip"])}))
    (folder / "modeling_clip.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"vocab_file": "/etc/passwd"}))
    tower, intact = (ImageTower(FilterConfig(path=str(path))) for path in (folder, towers["clip"]))
    assert torch.equal(tower.embed_text(["a bird"]), intact.embed_text(["a bird"]))
