"""Tests of PreActResNet: its parameters, its formula, and its use with timm."""

from __future__ import annotations

import pytest
import timm
import torch
from networks import (
    build,
    logits,
    random_images,
    saved,
    scratch,
)
from timm.models._hub import save_for_hf
from torch.nn import functional


@pytest.mark.parametrize(
    "name, classes, parameters", [("preact_resnet18", 100, 11_217_316), ("preact_resnet34", 102, 21_326_502)]
)
def test_preact_has_the_published_number_of_parameters(name, classes, parameters):
    model = timm.create_model(name, num_classes=classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("stride", [1, 2])
def test_preact_computes_its_formula(stride):
    """Compare with the formula: x1 = conv(x), and each block adds F(p) to x, with p = relu(bn(x)).

    Where the shape changes, a projection of p replaces x.
    """
    model = timm.create_model("preact_resnet18", num_classes=5, stem_stride=stride).eval()
    weights = model.state_dict()

    def normed(x, name):
        statistics = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.relu(functional.batch_norm(x, *statistics))

    x = random_images()
    expected = functional.conv2d(x, weights["stem.conv.weight"], stride=stride, padding=1)
    for stage in range(4):
        for block in range(2):
            prefix = f"stages.{stage}.blocks.{block}"
            block_stride = 2 if stage and not block else 1
            p = normed(expected, f"{prefix}.norm1")
            if block_stride == 2:
                expected = functional.conv2d(p, weights[f"{prefix}.downsample.conv.weight"], stride=2)
            y = functional.conv2d(p, weights[f"{prefix}.conv1.weight"], stride=block_stride, padding=1)
            y = functional.conv2d(normed(y, f"{prefix}.norm2"), weights[f"{prefix}.conv2.weight"], padding=1)
            expected = expected + y
    assert expected.shape[-1] == 4 // stride
    expected = expected.mean((2, 3)) @ weights["head.fc.weight"].flatten(1).T + weights["head.fc.bias"]
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)


def test_preact_works_with_the_functions_of_timm():
    model = timm.create_model("preact_resnet18", num_classes=4, stem_stride=2)
    assert model.get_classifier() is model.get_submodule(model.pretrained_cfg["classifier"])
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).stride == (2, 2)
    assert model.pretrained_cfg["fixed_input_size"] is False
    features = timm.create_model("preact_resnet18", features_only=True)
    assert features.feature_info.reduction() == [1, 1, 2, 4, 8]
    assert [feature.shape[-1] for feature in features(random_images(1))] == [32, 32, 16, 8, 4]
    assert timm.create_model("preact_resnet18", in_chans=1)(torch.zeros(2, 1, 32, 32)).shape == (2, 100)


@pytest.mark.parametrize("stride", [1, 2])
def test_preact_is_saved_and_loaded_by_timm(tmp_path, stride):
    model = build(scratch("preact_resnet18", stem_stride=stride))
    save_for_hf(model, tmp_path / "timm", safe_serialization=True, model_args={"stem_stride": stride})
    saved(tmp_path / "ours", model)
    for folder in ("timm", "ours"):
        reloaded = timm.create_model(f"local-dir:{tmp_path / folder}", pretrained=True)
        assert torch.equal(logits(reloaded), logits(model))
