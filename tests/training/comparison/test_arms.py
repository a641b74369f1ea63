"""The arms of a comparison: built-in arms, one arm for each mixer, and own arms."""

from __future__ import annotations

import pytest

from diffcore_hf.training.comparison.arms import arms_of, check_arm, known_arms, public_recipe
from diffcore_hf.training.mixers.names import MIXERS


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_is_an_arm_on_real_images(train_recipe, name):
    (arm,) = arms_of(train_recipe(compare=[name])).values()
    assert arm.mixer.name == name and arm.mix.mode == "off"
    check_arm(arm)


def test_an_own_arm_replaces_a_built_in_arm(train_recipe):
    recipe = train_recipe(arms={"mixup": {"mixer": {"name": "cutmix"}}})
    assert known_arms(recipe)["mixup"] == {"mixer": {"name": "cutmix"}}


def test_a_published_recipe_has_no_folder_of_mixing_pictures(train_recipe, tmp_path):
    options = {"pictures": str(tmp_path), "beta": 4.0}
    recipe = train_recipe(mixer={"name": "pixmix", "options": options})
    assert public_recipe(recipe).mixer.options == {"pictures": "local", "beta": 4.0}
