"""Tests that train each kind of network for two steps at its smallest size, with the training loop of the package."""

from __future__ import annotations

import pytest

from diffcore_hf.training.comparison import trials

NETWORKS = [
    ("resnet10t", 32),
    ("preact_resnet18", 32),
    ("densenet121", 32),
    ("mobilevit_xxs", 64),
    ("fastvit_t8", 64),
    ("efficientvit_m0", 64),
    ("convnextv2_atto", 32),
    ("vit_tiny_patch16_224", 32),
    ("swin_tiny_patch4_window7_224", 56),
]


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_each_network_trains_two_steps(train_recipe, name, size):
    recipe = train_recipe(model={"name": name}, transform={"size": size}, max_steps=2, optimizer={"lr": 1e-4})
    comparison = trials.run(recipe, progress=False)
    assert comparison["arms"][0]["steps"] == 2 and 0 <= comparison["arms"][0]["top1"] <= 1
