"""Tests of pretrained weights: the locations from which they are loaded, and the parts that are used."""

from __future__ import annotations

import json
import logging

import pytest
import timm
import torch
from networks import (
    COMMIT,
    MINIATURE,
    backbone_of,
    build,
    cache_repository,
    equal_tensors,
    logits,
    random_images,
    saved,
    scratch,
)
from safetensors.torch import load_file, save_file

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.networks import backbones, trained_model


@pytest.mark.parametrize("classes", [20, 7])
def test_the_classifier_gets_new_weights_and_the_log_says_so(classes, caplog):
    config = BackboneConfig(name="resnet10t", pretrained=MINIATURE)
    with caplog.at_level(logging.INFO, logger="diffcore_hf"):
        first, second = build(config, classes, 64, seed=0), build(config, classes, 64, seed=1)
    weights = load_file(backbones.resolve_pretrained(config).local / "model.safetensors")
    assert first.fc.weight.shape == (classes, 512)
    assert not torch.equal(first.fc.weight, second.fc.weight)
    assert equal_tensors(backbone_of(first), backbone_of(second))
    assert torch.equal(first.state_dict()["conv1.0.weight"], weights["conv1.0.weight"].float())
    if classes == 20:
        assert not torch.allclose(first.fc.weight, weights["fc.weight"].float(), atol=1e-3)
    assert f"the classifier of 20 classes is replaced by a new one of {classes} classes" in caplog.text
    assert "label_names" not in first.pretrained_cfg and "file" not in first.pretrained_cfg


def test_weights_come_from_a_folder_a_file_or_the_hub(tmp_path):
    model = build(seed=3)
    folder = saved(tmp_path / "saved", model)
    repo = "birds/test_resnet.wild"
    cache_repository(repo, **{f.name.replace(".", "_DOT_"): f.read_bytes() for f in folder.iterdir()})
    bare = tmp_path / "bare.safetensors"  # without a config.json the network of the recipe is used
    bare.write_bytes((folder / "model.safetensors").read_bytes())
    saved_values, timm_values = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for path, mean_and_std in [
        (str(folder), saved_values),
        (str(bare), timm_values),
        (str(folder / "model.safetensors"), timm_values),
        (repo, saved_values),
        (f"{repo}@{COMMIT}", saved_values),
    ]:
        config = BackboneConfig(name="test_resnet", pretrained=path)
        loaded = build(config, classes=5)
        assert equal_tensors(backbone_of(loaded), backbone_of(model)), path
        assert loaded(random_images()).shape == (2, 5)
        assert backbones.normalisation(config, loaded) == mean_and_std
    assert backbones.resolve_pretrained(BackboneConfig(name="test_resnet", pretrained=repo)).revision == COMMIT
    assert torch.equal(logits(trained_model.load_model(repo, 3)), logits(model))
    assert backbones.resolve_pretrained(BackboneConfig(name="test_resnet", pretrained=str(folder))).identity.startswith(
        "sha256:"
    )


def test_pretrained_true_loads_the_weights_that_timm_names():
    config = BackboneConfig(name="test_resnet.r160_in1k")
    model = timm.create_model("test_resnet", num_classes=1000)
    snapshot = cache_repository("timm/test_resnet.r160_in1k", pytorch_model_DOT_bin=b"a pickle that is never opened")
    save_file(model.state_dict(), snapshot / "model.safetensors")
    loaded = build(config)
    assert equal_tensors(backbone_of(loaded), backbone_of(model))
    assert backbones.normalisation(config, loaded) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert backbones.normalisation(scratch(), build()) is None
    assert backbones.resolve_pretrained(config).location == "timm/test_resnet.r160_in1k"
    assert backbones.resolve_pretrained(scratch()) is None


def test_position_embeddings_are_resized_to_the_training_size(tmp_path):
    folder = saved(tmp_path, build(scratch("test_vit"), size=64), size=64)
    loaded = build(BackboneConfig(name="test_vit", pretrained=str(folder)), size=32)
    assert loaded.pos_embed.shape[1] == 1 + 4
    assert loaded(random_images()).shape == (2, 3)


def test_the_stem_stride_of_the_weights_is_used_if_the_recipe_has_none(tmp_path):
    folder = saved(tmp_path, build(scratch("preact_resnet18", stem_stride=2)))
    for stride, expected in [(None, 2), (1, 1), (2, 2)]:
        loaded = build(BackboneConfig(name="preact_resnet18", pretrained=str(folder), stem_stride=stride))
        assert loaded.stem.conv.stride == (expected, expected)


def test_a_config_json_cannot_cause_another_file_to_be_loaded(tmp_path):
    model = build(seed=3)
    folder = saved(tmp_path / "saved", model)
    other = tmp_path / "other.bin"
    other.write_bytes(b"a pickle")
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= {
        "file": str(other),
        "url": str(other),
        "custom_load": True,
        "hf_hub_id": "no/where",
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(trained_model.load_model(folder, 3)), logits(model))
    assert equal_tensors(backbone_of(build(BackboneConfig("test_resnet", str(folder)))), backbone_of(model))
    config["model_args"] = {"checkpoint_path": str(other), "pretrained_cfg_overlay": {"file": str(other)}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"model_args\.checkpoint_path, which would read other weights"):
        trained_model.load_model(folder, 3)
