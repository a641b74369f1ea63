"""Tests of the arms of a comparison: built-in arms, one arm for each mixer, and arms of the user."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import fields

import pytest

from diffcore_hf.config.train import MixerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.comparison import trials
from diffcore_hf.training.comparison.arms import arms_of, check_arm, check_mixer_of_all, known_arms, public_recipe
from diffcore_hf.training.mixers.names import MIXERS

NEEDS_VIT = {"transmix"}
"""Mixers that work only with a ViT."""


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_is_an_arm_on_real_images(train_recipe, name):
    (arm,) = arms_of(train_recipe(compare=[name])).values()
    assert arm.mixer.name == name and arm.mix.mode == "off"
    check_arm(arm)


def test_the_help_of_the_key_names_every_mixer():
    (named,) = (each for each in fields(MixerConfig) if each.name == "name")
    assert set(re.findall(r"[a-z_]+", named.metadata["help"])) >= set(MIXERS)


def test_an_own_arm_replaces_a_built_in_arm(train_recipe):
    recipe = train_recipe(arms={"mixup": {"mixer": {"name": "cutmix"}}})
    assert known_arms(recipe)["mixup"] == {"mixer": {"name": "cutmix"}}


def test_a_published_recipe_does_not_contain_the_folder_of_mixing_pictures(train_recipe, tmp_path):
    options = {"pictures": str(tmp_path), "beta": 4.0}
    recipe = train_recipe(mixer={"name": "pixmix", "options": options})
    assert public_recipe(recipe).mixer.options == {"pictures": "local", "beta": 4.0}


@pytest.mark.slow
def test_every_mixer_is_trained_in_one_comparison(train_recipe):
    """Each arm is trained for two steps. The loader computes the tensors that the mixer of the arm requests."""
    own = {
        name: {"mix": {"mode": "off"}, "mixer": name, "model": {"name": "test_vit"}} for name in NEEDS_VIT & {*MIXERS}
    }
    recipe = train_recipe(compare=["plain", *MIXERS], arms=own, max_steps=2, transform={"size": 64})
    comparison = trials.run(recipe, progress=False)
    assert [arm["name"] for arm in comparison["arms"]] == ["plain", *MIXERS]
    assert {arm["steps"] for arm in comparison["arms"]} == {2}


@pytest.mark.parametrize(
    ("mixer", "compare", "refused"),
    [
        ("cutmix", ["plain", "cutmix"], True),
        ("own_mixers:Learned", ["plain", "mixup"], True),
        ("cutmix", ["plain", "mix"], False),
        ("cutmix", ["mixup", "cutmix"], False),
        (None, ["plain", "cutmix"], False),
    ],
)
def test_a_mixer_of_all_arms_is_not_compared_with_plain_by_mistake(train_recipe, mixer, compare, refused):
    recipe = train_recipe(mixer={"name": mixer}, compare=compare)
    message = f"mixer.name is '{mixer}' for all arms, .*. Use --mixer.name null --mixer.options null"
    with pytest.raises(UserError, match=message) if refused else nullcontext():
        check_mixer_of_all(recipe)
    check_mixer_of_all(train_recipe(mixer={"name": None, "options": None}, compare=compare))
