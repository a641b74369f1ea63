"""Tests of the CosXL preset: its single file, its scheduler, and the configuration that the file does not contain."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import tiny_models
import torch
from safetensors.numpy import save_file

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import cosxl
from diffcore_hf.models.model_resolution import resolve_model
from diffcore_hf.models.pipelines import load_pipeline


def test_the_preset_resolves_and_loads_the_file(tmp_path, monkeypatch):
    save_file({"weight": np.zeros(1)}, tmp_path / "cosxl.safetensors")
    preset = ModelConfig(path=str(tmp_path), family_preset="cosxl", size=512)
    model, info = resolve_model(preset)
    assert info["family"] == "SDXL"
    assert model.scheduler.name == "EDMEulerScheduler"
    assert resolve_model(ModelConfig(path=str(tmp_path / "cosxl.safetensors"), family_preset="cosxl"))[1] == info
    called = {}

    def from_single_file(file, **options):
        called.update(options, file=file)
        pipe = tiny_models.sdxl()
        pipe.register_modules(scheduler=options["scheduler"])
        return pipe

    (tmp_path / "config").mkdir()
    monkeypatch.setattr(cosxl, "configuration", lambda: tmp_path / "config")
    monkeypatch.setattr(diffusers.StableDiffusionXLPipeline, "from_single_file", from_single_file)
    pipe = load_pipeline(model)
    assert called["file"].endswith("cosxl.safetensors")
    assert called["add_watermarker"] is False
    pipe.scheduler.set_timesteps(5)
    ratios = pipe.scheduler.sigmas[1:5] / pipe.scheduler.sigmas[:4]
    # The schedule is exponential and not the schedule of Karras.
    assert torch.allclose(ratios, ratios[:1].expand(4), rtol=1e-4)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert pipe.scheduler.sigmas[0] == pytest.approx(120.0)


def test_a_file_that_lacks_weights_gives_a_one_line_error(tmp_path, monkeypatch):
    save_file({"weight": np.zeros(1)}, tmp_path / "cosxl.safetensors")
    (tmp_path / "config").mkdir()

    def from_single_file(file, **options):
        pipe = tiny_models.sdxl()
        pipe.unet.conv_in.to("meta")
        return pipe

    monkeypatch.setattr(cosxl, "configuration", lambda: tmp_path / "config")
    monkeypatch.setattr(diffusers.StableDiffusionXLPipeline, "from_single_file", from_single_file)
    model = ModelConfig(path=str(tmp_path), family_preset="cosxl", size=512, dtype="float32")
    with pytest.raises(UserError, match=r"unet lacks 2 tensors of the model \(conv_in.weight, conv_in.bias\)"):
        cosxl.load_cosxl(model, {})


def test_the_error_names_a_missing_configuration(monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(cosxl, "snapshot_download", offline)
    with pytest.raises(ValueError, match=r"stable-diffusion-xl-base-1.0 .*plan --fetch"):
        cosxl.configuration()
