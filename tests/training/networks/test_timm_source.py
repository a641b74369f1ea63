"""Tests of the check of network names: names of timm and of this package are accepted, other names are refused."""

from __future__ import annotations

import pytest

from diffcore_hf.config.merging import build
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.networks.timm_source import check_names


def recipe(name: str):
    return build(TRAIN_SCHEMA, {"data": {"path": "out/x"}, "model": {"name": name}})


@pytest.mark.parametrize("name", ["resnet18", "vit_small_patch16_224.augreg", "preact_resnet18", "preact_resnet34"])
def test_a_network_of_timm_or_of_this_package_is_accepted(name):
    check_names(recipe(name))


def test_the_error_for_an_unknown_network_lists_the_nearest_names():
    with pytest.raises(UserError, match=r"model.name is 'preact_resnet81'.*preact_resnet18"):
        check_names(recipe("preact_resnet81"))
