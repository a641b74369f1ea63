"""Tests of the fields of a recipe class, which the command line and the documentation show."""

import dataclasses

import pytest

from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.fields import documented_keys, join, section, sections
from diffcore_hf.config.train import TrainRecipe


@pytest.mark.parametrize(
    "cls, name, type_text, default, scope",
    [
        (Recipe, "source.path", "TEXT", None, "attempt"),
        (Recipe, "model.gamma", "NUMBER", "2.0", "attempt"),
        (Recipe, "model.scheduler.name", "TEXT", None, "attempt"),
        (Recipe, "model.adapters", "YAML", "[]", "attempt"),
        (Recipe, "prompts.contexts", "TEXT ...|null", "null", "attempt"),
        (Recipe, "filter.policy.floor", "auto|on|off|null", "null", "decision"),
        (Recipe, "columns.prefix", "TEXT", "''", "free"),
        (TrainRecipe, "seeds", "INT,...", "0", None),
        (TrainRecipe, "schedule.milestones", "NUMBER,...", "[]", None),
        (TrainRecipe, "model.pretrained", "true|false|TEXT", "true", None),
    ],
)
def test_a_key_has_type_default_and_scope(cls, name, type_text, default, scope):
    key = documented_keys(cls)[name]
    assert (key.type_text, key.default_text, key.scope) == (type_text, default, scope)
    assert (key.default is dataclasses.MISSING) == (default is None)
    assert key.help.endswith(".")


def test_sections_include_optional_sections_but_no_lists_of_sections():
    assert {"model", "model.scheduler", "filter.policy"} <= set(sections(Recipe))
    assert section(tuple[Recipe, ...]) is None
    assert not [name for name in documented_keys(Recipe) if name.startswith("model.adapters.")]


@pytest.mark.parametrize("path, name, key", [("model", "gamma", "model.gamma"), ("", "seed", "seed"), ("a", "", "a")])
def test_a_key_joins_the_path_of_its_section_and_its_name_with_a_dot(path, name, key):
    assert join(path, name) == key
