"""Tests of the folder of a trained model, which this package and timm can load."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from networks import (
    NAMES,
    build,
    error_line,
    logits,
    saved,
)

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.training.networks import trained_model


def test_a_saved_model_is_loaded_with_its_classifier(tmp_path):
    model = build(classes=3).to(memory_format=torch.channels_last)
    trained_model.save_model(tmp_path / "best", model, NAMES, mean=(0.5,) * 3, std=(0.25,) * 3, size=32)
    reloaded = trained_model.load_model(tmp_path / "best", 3)
    assert not reloaded.training
    torch.testing.assert_close(logits(reloaded), logits(model))
    assert reloaded.pretrained_cfg["label_names"] == NAMES
    by_timm = timm.create_model(f"local-dir:{tmp_path / 'best'}", pretrained=True)
    assert by_timm.pretrained_cfg["label_names"] == NAMES
    assert torch.equal(logits(by_timm), logits(reloaded))
    assert timm.data.resolve_model_data_config(by_timm) == {
        "input_size": [3, 32, 32],
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "crop_pct": 1.0,
        "crop_mode": "center",
    }


def test_the_folder_has_no_path_of_this_machine_and_is_the_same_when_saved_twice(tmp_path):
    folder = saved(tmp_path / "first", build())
    model = build(BackboneConfig("test_resnet", str(folder)))
    for name in ("second", "third"):
        saved(tmp_path / name, model)
    files = {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()}
    assert sorted(files) == ["config.json", "model.safetensors"]
    assert len({path.stat().st_mode for path in (tmp_path / "second").iterdir()}) == 1
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "third").iterdir()}
    assert str(tmp_path).encode() not in b"".join(files.values())
    config = json.loads(files["config.json"])
    assert (config["architecture"], config["num_classes"], len(config["label_names"])) == ("test_resnet", 3, 3)
    timm_config = config["pretrained_cfg"]
    assert (
        timm_config["input_size"] == [3, 32, 32]
        and timm_config["mean"] == [0.1, 0.2, 0.3]
        and timm_config["crop_pct"] == 1.0
    )
    assert (timm_config["num_classes"], timm_config["first_conv"], timm_config["classifier"]) == (
        3,
        "conv1.0",
        "fc",
    )


def test_a_failed_save_leaves_the_old_model(tmp_path, monkeypatch):
    model = build()
    folder = saved(tmp_path / "best", model)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail_to_sync(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail_to_sync)
    with pytest.raises(OSError, match="disk full"):
        saved(folder, build(seed=1))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_with_another_number_of_classes_raises_an_error(tmp_path):
    folder = saved(tmp_path, build(classes=3))
    line = error_line(trained_model.load_model, folder, 200)
    assert "the model has 3 classes, but the dataset has 200" in line
    (folder / "config.json").unlink()
    assert "no config.json" in error_line(trained_model.load_model, folder, 3)
    assert "one of" not in error_line(trained_model.load_model, tmp_path / "nowhere", 3)
    with pytest.raises(ValueError, match="2 label names for a model of 3 classes"):
        trained_model.save_model(tmp_path, build(), NAMES[:2], mean=(0,) * 3, std=(1,) * 3, size=32)


def test_a_compiled_model_is_saved_like_the_original_model(tmp_path):
    model = build()
    compiled = torch.compile(model)  # the model is compiled only in its first call
    assert torch.equal(logits(trained_model.load_model(saved(tmp_path, compiled), 3)), logits(model))
