"""Small networks, their folders, and repositories in a Hub cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.training.networks import backbones, trained_model

MINIATURE = "package:diffcore_hf.miniature/models/backbone"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["heron", "wren", "rook"]


def random_images(count=2, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def logits(model, size=32):
    with torch.no_grad():
        return model.eval()(random_images(size=size))


def scratch(name="test_resnet", **fields):
    return BackboneConfig(name=name, pretrained=False, **fields)


def build(config=None, classes=3, size=32, seed=0):
    torch.manual_seed(seed)
    return backbones.create(config or scratch(), classes, size)


def saved(folder, model, size=32, **arguments):
    """Save a trained model and return its folder."""
    labels = [f"bird {index}" for index in range(model.num_classes)]
    trained_model.save_model(folder, model, labels, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), size=size, **arguments)
    return folder


def cache_repository(repo_id, **files):
    """Write a repository into the cache, as a download does, and return the folder of its snapshot."""
    root = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        (snapshot / name.replace("_DOT_", ".")).write_bytes(content)
    return snapshot


def backbone_of(model):
    """Return the weights without those of the head."""
    head = model.pretrained_cfg["classifier"]
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(head)}


def equal_tensors(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def error_line(call, *arguments):
    """Return the message of the error that the call raises, which must be one line."""
    with pytest.raises(ValueError, match=".") as caught:
        call(*arguments)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 500, line
    return line
