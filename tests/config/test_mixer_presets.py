"""Tests of the presets of mixers: each value is an option of its mixer, and the recipe overrides the preset."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from diffcore_hf.config.merging import build
from diffcore_hf.config.mixer_presets import PRESETS, resolved
from diffcore_hf.config.train import MixerConfig
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.names import MIXERS
from diffcore_hf.training.mixers.registry import make_mixer

ALL = [(mixer, name) for mixer, presets in PRESETS.items() for name in presets]


@pytest.mark.parametrize(("mixer", "name"), ALL)
def test_a_preset_builds_its_mixer_and_names_its_source(mixer, name):
    assert mixer in MIXERS and PRESETS[mixer][name].source
    made = make_mixer(MixerConfig(mixer, preset=name), 5)
    assert made is not None and made.setup.probability == PRESETS[mixer][name].probability
    assert made.setup.classes == 5


def test_values_of_the_recipe_override_those_of_the_preset():
    config = MixerConfig("pixmix", preset="imagenet", probability=0.3, options={"beta": 5.0})
    assert resolved(config) == MixerConfig("pixmix", probability=0.3, options={"rounds": 4, "beta": 5.0, "severity": 1})
    assert resolved(MixerConfig("saliencymix", preset="cifar")).probability == 0.5
    assert resolved(MixerConfig("cutmix")) == MixerConfig("cutmix", probability=1.0)


@pytest.mark.parametrize(
    ("mixer", "message"),
    [
        ({"name": "mixup", "preset": "cub2"}, "mixer.preset is 'cub2', which mixup does not have. Its presets: cifar"),
        ({"name": "smoothmix", "preset": "cub"}, "which smoothmix does not have. Omit it, or use a mixer that has"),
        ({"preset": "cub"}, "mixer.preset is 'cub', but no mixer is named. Use e.g. --mixer.name mixup"),
    ],
)
def test_a_preset_that_does_not_exist_is_refused(mixer, message):
    with pytest.raises(UserError, match=message):
        build(TRAIN_SCHEMA, {"data": "d", "mixer": mixer})


def test_another_mixer_ignores_the_preset_of_the_recipe():
    recipe = build(TRAIN_SCHEMA, {"data": "d", "mixer": {"name": "mixup", "preset": "cub"}}, {"mixer": "smoothmix"})
    assert recipe.mixer == MixerConfig("smoothmix")


def test_the_table_of_presets_in_the_documentation_is_complete():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = text.partition("| mixer | presets |")[2].partition("\n\n")[0].splitlines()[2:]
    pairs = set()
    for row in rows:
        mixers, presets = (re.findall(r"`(\w+)`", cell) for cell in row.strip("|").split("|"))
        pairs |= set(product(mixers, presets))
    assert pairs == set(ALL)
    assert {"smoothmix"} == set(MIXERS) - set(PRESETS)
