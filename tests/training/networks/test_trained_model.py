"""The folder of a trained model: what is saved is loaded, by this package and by timm."""

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


def test_what_is_saved_is_loaded_with_its_head(tmp_path):
    model = build(classes=3).to(memory_format=torch.channels_last)
    trained_model.save_model(tmp_path / "best", model, NAMES, mean=(0.5,) * 3, std=(0.25,) * 3, size=32)
    again = trained_model.load_model(tmp_path / "best", 3)
    assert not again.training
    torch.testing.assert_close(logits(again), logits(model))
    assert again.pretrained_cfg["label_names"] == NAMES
    by_timm = timm.create_model(f"local-dir:{tmp_path / 'best'}", pretrained=True)
    assert by_timm.pretrained_cfg["label_names"] == NAMES
    assert torch.equal(logits(by_timm), logits(again))
    assert timm.data.resolve_model_data_config(by_timm) == {
        "input_size": [3, 32, 32],
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "crop_pct": 1.0,
        "crop_mode": "center",
    }


def test_the_folder_says_nothing_of_this_machine_and_is_the_same_twice(tmp_path):
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
    picture = config["pretrained_cfg"]
    assert picture["input_size"] == [3, 32, 32] and picture["mean"] == [0.1, 0.2, 0.3] and picture["crop_pct"] == 1.0
    assert (picture["num_classes"], picture["first_conv"], picture["classifier"]) == (3, "conv1.0", "fc")


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    model = build()
    folder = saved(tmp_path / "best", model)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        saved(folder, build(seed=1))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_of_other_classes_is_refused(tmp_path):
    folder = saved(tmp_path, build(classes=3))
    line = error_line(trained_model.load_model, folder, 200)
    assert "a model of 3 classes, but the dataset has 200" in line
    (folder / "config.json").unlink()
    assert "no config.json" in error_line(trained_model.load_model, folder, 3)
    assert "one of" not in error_line(trained_model.load_model, tmp_path / "nowhere", 3)
    with pytest.raises(ValueError, match="2 label names for a model of 3 classes"):
        trained_model.save_model(tmp_path, build(), NAMES[:2], mean=(0,) * 3, std=(1,) * 3, size=32)


def test_a_compiled_model_is_saved_as_itself(tmp_path):
    model = build()
    wrapped = torch.compile(model)  # nothing is compiled before the first call
    assert torch.equal(logits(trained_model.load_model(saved(tmp_path, wrapped), 3)), logits(model))
