"""Tests of backbones: each kind of network is built and gets gradients, and an impossible model gives an error."""

from __future__ import annotations

import pytest
import timm
import torch
from networks import (
    MINIATURE,
    build,
    cache_repository,
    error_line,
    logits,
    random_images,
    saved,
    scratch,
)
from safetensors.torch import load_file, save_file
from torch.nn import functional

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.training.networks import backbones, trained_model


@pytest.mark.parametrize(
    "name, size, drop_path",
    [
        ("resnet18", 32, 0.1),
        ("preact_resnet18", 32, 0.1),
        ("densenet121", 32, 0.0),
        ("mobilevit_xxs", 64, 0.1),
        ("fastvit_t8", 64, 0.1),
        ("efficientvit_m0", 64, 0.0),
        ("convnextv2_atto", 32, 0.1),
        ("vit_tiny_patch16_224", 32, 0.1),
        ("swin_tiny_patch4_window7_224", 56, 0.1),
    ],
)
def test_every_kind_of_network_is_built_and_gets_gradients_at_a_small_size(name, size, drop_path, tmp_path):
    model = build(scratch(name, drop_path=drop_path), classes=5, size=size)
    assert model.training
    output = model(random_images(size=size))
    functional.cross_entropy(output, torch.tensor([0, 4])).backward()
    assert output.shape == (2, 5)
    head = next(model.get_classifier().parameters())
    assert head.grad.abs().sum() > 0
    saved(tmp_path / "saved", model, size=size)
    reloaded = timm.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True)
    assert torch.equal(logits(reloaded, size), logits(model, size))


def drop_rates(model):
    return [part.drop_prob for part in model.modules() if type(part).__name__ == "DropPath" and part.drop_prob]


def test_drop_path_of_the_recipe_is_used():
    assert max(drop_rates(build(scratch("test_resnet", drop_path=0.3)))) == pytest.approx(0.3)
    swin = "swin_tiny_patch4_window7_224"
    assert drop_rates(timm.create_model(swin, img_size=56))  # timm builds this network with a drop rate of 0.1
    assert not drop_rates(build(scratch(swin), size=56))


def test_a_network_of_fixed_size_is_built_for_the_size_of_the_training(tmp_path):
    model = build(scratch("test_vit"), size=48)
    assert model.patch_embed.img_size == (48, 48)
    reloaded = trained_model.load_model(saved(tmp_path, model, size=48), 3)
    assert reloaded.patch_embed.img_size == (48, 48)
    assert torch.equal(logits(reloaded, 48), logits(model, 48))


@pytest.mark.parametrize(
    "config, size, parts",
    [
        (scratch("resnet5"), 32, ["model.name is 'resnet5'", "nearest names: ", "--model.name resnet"]),
        (scratch("preact_resnet19"), 32, ["--model.name preact_resnet18"]),
        (scratch("ResNet50x"), 32, ["resnet50"]),
        (scratch("resnet50.a1_in1"), 32, ["'a1_in1'", "--model.name resnet50.a1_in1k"]),
        (scratch("preact_resnet18.best"), 32, ["'best'", "--model.name preact_resnet18"]),
        (scratch("vit_base_patch16_224_in21k"), 32, ["old name", "--model.name vit_base_patch16_224.augreg_in21k"]),
        (
            scratch("hf-hub:timm/resnet50.a1_in1k"),
            32,
            ["location of weights", "--model.pretrained timm/resnet50.a1_in1k"],
        ),
        (scratch("densenet121", drop_path=0.1), 32, ["model.drop_path is 0.1", "--model.drop_path 0"]),
        (scratch("test_resnet", stem_stride=2), 32, ["model.stem_stride is 2", "Leave out --model.stem_stride"]),
        (scratch("test_vit"), 40, ["multiple of 16, not 40", "--transform.size 32"]),
        (scratch("test_vit"), 8, ["multiple of 16, not 8", "--transform.size 16"]),
        (scratch("densenet121"), 16, ["images of 16 pixels", "--transform.size 224"]),
        (BackboneConfig("preact_resnet18"), 32, ["timm names no weights", "--model.pretrained false"]),
        (BackboneConfig("legacy_seresnet18"), 32, ["timm names no weights", "--model.pretrained false"]),
        (BackboneConfig("resnet18"), 32, ["timm/resnet18.a1_in1k", "not in the cache", "--model.pretrained false"]),
        (BackboneConfig("resnet18", "no/where"), 32, ["no/where", "not in the cache", "--model.pretrained false"]),
        (BackboneConfig("resnet18", "no such folder"), 32, ["no such folder", "--model.pretrained false"]),
        (BackboneConfig("resnet18", "package:nothing/x"), 32, ["package:nothing/x", "--model.pretrained false"]),
        (BackboneConfig("resnet18", MINIATURE), 32, ["weights of resnet10t", "--model.name resnet10t"]),
    ],
)
def test_an_impossible_model_gives_a_one_line_error(config, size, parts):
    line = error_line(backbones.create, config, 3, size)
    for part in parts:
        assert part in line
    assert "plan --fetch" not in line


def test_weights_that_do_not_fit_give_a_one_line_error(tmp_path):
    folder = saved(tmp_path / "saved", build())
    intact = (folder / "model.safetensors").read_bytes()
    config = BackboneConfig("test_resnet", str(folder))
    weights = load_file(folder / "model.safetensors")
    first = "conv1.0.weight"
    for change, part in [
        ({first: None}, "Missing key"),
        ({first: torch.zeros(1)}, "size mismatch"),
        ({"more.weight": torch.zeros(1)}, "Unexpected key"),
    ]:
        changed = {name: tensor for name, tensor in (weights | change).items() if tensor is not None}
        save_file(changed, folder / "model.safetensors")
        for call in (lambda: backbones.create(config, 3, 32), lambda: trained_model.load_model(folder, 3)):
            assert part in error_line(call)
        assert "--model.pretrained false" in error_line(backbones.create, config, 3, 32)
    (folder / "model.safetensors").write_bytes(intact[:-100])
    assert "is cut off: 100 of" in error_line(backbones.create, config, 3, 32)
    (folder / "model.safetensors").write_bytes(intact)
    for damaged in ("{", "[]", '{"architecture": 1}', '{"architecture": "test_resnet", "pretrained_cfg": 1}'):
        (folder / "config.json").write_text(damaged)
        assert "config.json" in error_line(trained_model.load_model, folder, 3)
    assert "config.json is damaged" in error_line(backbones.create, config, 3, 32)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickled" in error_line(backbones.create, config, 3, 32)


def test_pickled_weights_on_the_hub_raise_an_error():
    cache_repository("birds/pickled", pytorch_model_DOT_bin=b"a pickle", config_DOT_json=b"{}")
    line = error_line(backbones.create, BackboneConfig("resnet18", "birds/pickled"), 3, 32)
    assert "pickled" in line and "--model.pretrained false" in line


def test_a_snapshot_without_weights_gives_a_one_line_error():
    cache_repository("birds/incomplete", config_DOT_json=b"{}")
    assert "--model.pretrained false" in error_line(
        backbones.create, BackboneConfig("resnet18", "birds/incomplete"), 3, 32
    )
