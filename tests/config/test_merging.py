"""Tests of merging: a later layer overrides an earlier one. The order is defaults, preset, file, flags."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.fields import RecipeSchema, Rule
from diffcore_hf.config.kinds import PAPER_CONTEXTS
from diffcore_hf.config.mappings import to_mapping
from diffcore_hf.config.merging import build
from diffcore_hf.config.policy import PolicyConfig

FILE = {"source": {"path": "org/a", "split": "test"}, "model": {"gamma": 3.0}, "fraction": 0.5}


def test_a_later_layer_overrides_single_keys():
    recipe = build_recipe(FILE, {"model": {"steps": 5}}, {"fraction": 0.25})
    assert (recipe.source.path, recipe.source.split) == ("org/a", "test")
    assert (recipe.model.gamma, recipe.model.steps, recipe.fraction) == (3.0, 5, 0.25)


@pytest.mark.parametrize("layer_with_preset", [0, 1])
def test_every_layer_overrides_the_preset(layer_with_preset):
    layers = [dict(FILE), {"model": {"steps": 7}}]
    layers[layer_with_preset]["preset"] = "paper"
    recipe = build_recipe(*layers)
    assert (recipe.model.gamma, recipe.model.steps, recipe.model.size) == (3.0, 7, 512)
    assert recipe.filter.policy == PolicyConfig("mean")
    assert recipe.prompts.template == "paper"
    assert recipe.prompts.contexts == PAPER_CONTEXTS
    assert recipe.prompts.contexts[0] == "heavy snow"


def test_preset_paper_sets_its_keys():
    recipe = build_recipe({"source": "org/a"}, {"preset": "paper"})
    assert (recipe.model.gamma, recipe.model.steps, recipe.model.size, recipe.preset) == (6.5, 50, 512, "paper")


def test_the_preset_of_the_last_layer_is_used():
    assert build_recipe({"source": "a", "preset": "paper"}, {"preset": None}).model.gamma == 2.0


def test_another_policy_removes_the_parameters_of_lower_layers():
    below = {"source": "a", "filter": {"policy": {"name": "rank", "alpha": 0.2, "floor": "off"}}}
    assert build_recipe(below, {"filter": {"policy": {"name": "mean"}}}).filter.policy == PolicyConfig("mean")
    assert build_recipe(below, {"filter": {"policy": "quantile"}}).filter.policy == PolicyConfig("quantile")
    assert build_recipe(below, {"filter": {"policy": {"name": "rank", "by": "text"}}}).filter.policy.alpha == 0.2


def test_naming_the_default_policy_keeps_its_parameters():
    layers = {"source": "a", "filter": {"policy": {"alpha": 0.2}}}, {"filter": {"policy": {"name": "rank"}}}
    assert build_recipe(*layers).filter.policy.alpha == 0.2


def test_options_of_a_strategy_are_merged_one_by_one_until_the_name_changes():
    below = {"source": "a", "strategy": {"name": "x", "options": {"strength": 0.4, "fit": "crop"}}}
    merged = build_recipe(below, {"strategy": {"options": {"strength": 0.5}}}).strategy.options
    assert merged == {"strength": 0.5, "fit": "crop"}
    assert build_recipe(below, {"strategy": "y"}).strategy.options is None
    names = build_recipe(
        {"source": {"path": "a", "label_names": {"b": "c"}}}, {"source": {"label_names": {"d": "e"}}}
    ).source.label_names
    assert names == {"d": "e"}


def test_another_path_removes_the_keys_that_describe_the_old_path():
    below = {
        "source": {"path": "org/a", "name": "x", "revision": "v1", "label": "species"},
        "model": {"path": "org/m", "revision": "v2", "family_preset": "cosxl", "gamma": 3},
        "filter": {"path": "org/f", "revision": "v3", "references": 20},
    }
    recipe = build_recipe(below, {"source": "./photos", "model": "org/n", "filter": {"path": "org/g"}})
    assert (recipe.source.name, recipe.source.revision, recipe.source.label) == (None, None, "species")
    assert (recipe.model.revision, recipe.model.family_preset, recipe.model.gamma) == (None, None, 3.0)
    assert (recipe.filter.revision, recipe.filter.references) == (None, 20)
    assert build_recipe(below, {"source": {"path": "org/a"}}).source.revision == "v1"


def test_label_names_of_a_later_layer_replace_all_earlier_names():
    below = {"source": {"path": "a", "label_names": {"x": "y"}}}
    assert build_recipe(below, {"source": {"label_names": {"z": "w"}}}).source.label_names == {"z": "w"}


def test_merging_does_not_change_the_layers():
    layer = {"source": {"path": "a"}, "filter": {"policy": "mean"}}
    build_recipe(layer, {"filter": {"policy": {"pairs": 3}}})
    assert layer == {"source": {"path": "a"}, "filter": {"policy": "mean"}}


@dataclass(frozen=True)
class Inner:
    name: str = "third"
    level: int | None = None
    width: Literal[1, 2] = 1


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    preset: str | None = None
    minutes: tuple[float, ...] = field(default=(), metadata={"commas": True})
    words: dict[str, str] | None = None
    kinds: dict[str, dict[str, Any]] | None = None


SCHEMA = RecipeSchema(
    recipe=Outer,
    rules={"minutes": Rule("a list of minutes", lambda v: all(m > 0 for m in v), "5,10")},
    check=lambda recipe: None,
    shorthand={Inner: "name"},
    presets={"quick": {"inner": {"name": "third", "level": 9}, "minutes": [5]}},
    describing_keys={("inner",): ("name", ("level",))},
)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], Outer()),
        ([{"preset": "quick"}], Outer(Inner(level=9), "quick", (5.0,))),
        ([{"preset": "quick"}, {"inner": "other"}], Outer(Inner("other"), "quick", (5.0,))),
        ([{"inner": {"level": 3}}, {"inner": "third"}], Outer(Inner(level=3))),
        ([{"inner": {"level": 3}}, {"inner": "other"}], Outer(Inner("other"))),
        ([{"inner": {"width": 2}}], Outer(Inner(width=2))),
        ([{"words": {"a": "b"}}, {"words": {"c": "d"}}], Outer(words={"c": "d"})),
        (
            [{"kinds": {"a": {"x": 1, "y": 2}, "b": {}}}, {"kinds": {"a": {"x": {"z": 3}}}}],
            Outer(kinds={"a": {"x": {"z": 3}}, "b": {}}),
        ),
        ([{"kinds": {"a": {}}}, {"kinds": None}], Outer()),
        *(([{"minutes": given}], Outer(minutes=(5.0, 7.5))) for given in ([5, 7.5], (5, 7.5), "5,7.5", " 5 , 7.5 ")),
        *(([{"minutes": given}], Outer(minutes=(5.0,))) for given in (5, 5.0, "5", [5])),
        *(([{"minutes": given}], Outer()) for given in ([], "", " ")),
    ],
)
def test_build_works_for_any_schema(layers, expected):
    assert build(SCHEMA, *layers) == expected
    assert build(SCHEMA, to_mapping(expected)) == expected


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"iner": 1}, "iner is not a key of a recipe; did you mean inner?"),
        ({"level": 1}, "level is not a key of a recipe; did you mean inner.level?"),
        ({"gamma": 1}, "gamma is not a key of a recipe; the keys are inner, preset, minutes, words, kinds"),
        ({"preset": "slow"}, "preset is 'slow', not quick or null"),
        ({"inner": {"width": 3}}, "inner.width is 3, not 1 or 2. Use e.g. 1"),
        ({"inner": {"width": True}}, "inner.width is true, not 1 or 2"),
        ({"inner": {"width": "1"}}, "inner.width is '1', not 1 or 2"),
        ({"minutes": "5,soon"}, "minutes[1] is 'soon', not a number. Use e.g. 5,10"),
        ({"minutes": "5,"}, "minutes[1] is '', not a number. Use e.g. 5,10"),
        ({"minutes": "-5"}, "minutes is [-5.0], not a list of minutes. Use e.g. 5,10"),
        ({"minutes": {"a": 5}}, "minutes is {'a': 5}, not a list of minutes. Use e.g. 5,10"),
        ({"kinds": {"a": 1}}, "kinds.a is 1, not a section of keys. Give keys below it"),
        ({"kinds": {True: {}}}, "kinds has the key True, which is not a text"),
    ],
)
def test_errors_name_the_keys_of_the_schema(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        build(SCHEMA, layer)
    assert "\n" not in str(caught.value)
