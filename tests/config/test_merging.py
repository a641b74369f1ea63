"""Layers: defaults < preset < file < flags or keywords; what WHAT means; plain values out again."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import yaml

from diffcore_hf.config.augment import ModelConfig, PolicyConfig, SourceConfig
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.fields import RecipeSchema, Rule
from diffcore_hf.config.kinds import PAPER_CONTEXTS
from diffcore_hf.config.layers import keywords_layer, what_layer
from diffcore_hf.config.mappings import to_mapping, to_yaml
from diffcore_hf.config.merging import build
from diffcore_hf.config.output_names import default_output
from diffcore_hf.config.recipe_files import read_recipe_file, shipped_recipe, shipped_recipes
from diffcore_hf.config.yaml_text import read_yaml

FILE = {"source": {"path": "org/a", "split": "test"}, "model": {"gamma": 3.0}, "fraction": 0.5}


def test_later_layers_win_key_by_key():
    recipe = build_recipe(FILE, {"model": {"steps": 5}}, {"fraction": 0.25})
    assert (recipe.source.path, recipe.source.split) == ("org/a", "test")
    assert (recipe.model.gamma, recipe.model.steps, recipe.fraction) == (3.0, 5, 0.25)


@pytest.mark.parametrize("place", [0, 1])
def test_the_preset_lies_below_every_layer(place):
    layers = [dict(FILE), {"model": {"steps": 7}}]
    layers[place]["preset"] = "paper"
    recipe = build_recipe(*layers)
    assert (recipe.model.gamma, recipe.model.steps, recipe.model.size) == (3.0, 7, 512)
    assert recipe.filter.policy == PolicyConfig("mean")
    assert recipe.prompts.template == "paper"
    assert recipe.prompts.contexts == PAPER_CONTEXTS
    assert recipe.prompts.contexts[0] == "heavy snow"


def test_the_paper_alone():
    recipe = build_recipe({"source": "org/a"}, {"preset": "paper"})
    assert (recipe.model.gamma, recipe.model.steps, recipe.model.size, recipe.preset) == (6.5, 50, 512, "paper")


def test_the_last_preset_counts():
    assert build_recipe({"source": "a", "preset": "paper"}, {"preset": None}).model.gamma == 2.0


def test_another_policy_drops_the_parameters_below():
    below = {"source": "a", "filter": {"policy": {"name": "rank", "alpha": 0.2, "floor": "off"}}}
    assert build_recipe(below, {"filter": {"policy": {"name": "mean"}}}).filter.policy == PolicyConfig("mean")
    assert build_recipe(below, {"filter": {"policy": "quantile"}}).filter.policy == PolicyConfig("quantile")
    assert build_recipe(below, {"filter": {"policy": {"name": "rank", "by": "text"}}}).filter.policy.alpha == 0.2


def test_naming_the_default_policy_drops_nothing():
    layers = {"source": "a", "filter": {"policy": {"alpha": 0.2}}}, {"filter": {"policy": {"name": "rank"}}}
    assert build_recipe(*layers).filter.policy.alpha == 0.2


def test_another_path_drops_what_was_said_of_the_old_one():
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


def test_maps_of_the_users_replace_each_other():
    below = {"source": {"path": "a", "label_names": {"x": "y"}}}
    assert build_recipe(below, {"source": {"label_names": {"z": "w"}}}).source.label_names == {"z": "w"}


def test_layers_are_left_alone():
    layer = {"source": {"path": "a"}, "filter": {"policy": "mean"}}
    build_recipe(layer, {"filter": {"policy": {"pairs": 3}}})
    assert layer == {"source": {"path": "a"}, "filter": {"policy": "mean"}}


@dataclass(frozen=True)
class Oven:
    name: str = "gas"
    level: int | None = None
    width: Literal[1, 2] = 1


@dataclass(frozen=True)
class Cake:
    oven: Oven = Oven()
    preset: str | None = None
    minutes: tuple[float, ...] = field(default=(), metadata={"commas": True})
    words: dict[str, str] | None = None
    kinds: dict[str, dict[str, Any]] | None = None


CAKE = RecipeSchema(
    recipe=Cake,
    rules={"minutes": Rule("a list of minutes", lambda v: all(m > 0 for m in v), "5,10")},
    check=lambda cake: None,
    shorthand={Oven: "name"},
    presets={"quick": {"oven": {"name": "gas", "level": 9}, "minutes": [5]}},
    bound={("oven",): ("name", ("level",))},
)


@pytest.mark.parametrize(
    ("layers", "cake"),
    [
        ([], Cake()),
        ([{"preset": "quick"}], Cake(Oven(level=9), "quick", (5.0,))),
        ([{"preset": "quick"}, {"oven": "wood"}], Cake(Oven("wood"), "quick", (5.0,))),
        ([{"oven": {"level": 3}}, {"oven": "gas"}], Cake(Oven(level=3))),
        ([{"oven": {"level": 3}}, {"oven": "wood"}], Cake(Oven("wood"))),
        ([{"oven": {"width": 2}}], Cake(Oven(width=2))),
        ([{"words": {"a": "b"}}, {"words": {"c": "d"}}], Cake(words={"c": "d"})),
        (
            [{"kinds": {"a": {"x": 1, "y": 2}, "b": {}}}, {"kinds": {"a": {"x": {"z": 3}}}}],
            Cake(kinds={"a": {"x": {"z": 3}}, "b": {}}),
        ),
        ([{"kinds": {"a": {}}}, {"kinds": None}], Cake()),
        *(([{"minutes": given}], Cake(minutes=(5.0, 7.5))) for given in ([5, 7.5], (5, 7.5), "5,7.5", " 5 , 7.5 ")),
        *(([{"minutes": given}], Cake(minutes=(5.0,))) for given in (5, 5.0, "5", [5])),
        *(([{"minutes": given}], Cake()) for given in ([], "", " ")),
    ],
)
def test_any_recipe_is_built_by_its_grammar(layers, cake):
    assert build(CAKE, *layers) == cake
    assert build(CAKE, to_mapping(cake)) == cake


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"ofen": 1}, "ofen is no key of a recipe; did you mean oven?"),
        ({"level": 1}, "level is no key of a recipe; did you mean oven.level?"),
        ({"gamma": 1}, "gamma is no key of a recipe; there are oven, preset, minutes, words, kinds"),
        ({"preset": "slow"}, "preset is 'slow', not quick or null"),
        ({"oven": {"width": 3}}, "oven.width is 3, not 1 or 2. Use e.g. 1"),
        ({"oven": {"width": True}}, "oven.width is true, not 1 or 2"),
        ({"oven": {"width": "1"}}, "oven.width is '1', not 1 or 2"),
        ({"minutes": "5,soon"}, "minutes[1] is 'soon', not a number. Use e.g. 5,10"),
        ({"minutes": "5,"}, "minutes[1] is '', not a number. Use e.g. 5,10"),
        ({"minutes": "-5"}, "minutes is [-5.0], not a list of minutes. Use e.g. 5,10"),
        ({"minutes": {"a": 5}}, "minutes is {'a': 5}, not a list of minutes. Use e.g. 5,10"),
        ({"kinds": {"a": 1}}, "kinds.a is 1, not a section of keys. Give keys below it"),
        ({"kinds": {True: {}}}, "kinds has the key True, which is no text"),
    ],
)
def test_an_error_speaks_of_its_own_recipe(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        build(CAKE, layer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "layer"),
    [
        ({"kind": "bird", "fraction": 0.5}, {"kind": "bird", "fraction": 0.5}),
        ({"split": "test"}, {"source": {"split": "test"}}),
        ({"source": "a", "split": "test"}, {"source": {"path": "a", "split": "test"}}),
        (
            {"filter.policy.name": "mean", "filter.policy.pairs": 3},
            {"filter": {"policy": {"name": "mean", "pairs": 3}}},
        ),
        ({"model": {"gamma": 3}, "model.steps": 5}, {"model": {"gamma": 3, "steps": 5}}),
    ],
)
def test_keywords_are_keys(keywords, layer):
    assert keywords_layer(**keywords) == layer


def test_keywords_take_records():
    recipe = build_recipe(keywords_layer(source=SourceConfig("a"), model=ModelConfig(steps=4)))
    assert (recipe.source, recipe.model) == (SourceConfig("a"), ModelConfig(steps=4))


@pytest.mark.parametrize("keywords", [{"split": "a", "source.split": "b"}, {"fraction": 1, "fraction.x": 2}])
def test_a_keyword_given_twice_is_an_error(keywords):
    with pytest.raises(ValueError, match="is given twice"):
        keywords_layer(**keywords)


def test_yaml_is_read_without_surprises(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("a: on\nb: 1e-3\nc: 2012-01-01\nd: no\ne: true\nf: null\ng: -3\nh: 1:30\ni: ~\nj: 010\n")
    read = read_recipe_file(file)
    assert read == {"a": "on", "b": 0.001, "c": "2012-01-01", "d": "no", "e": True, "f": None, "g": -3, "h": "1:30",
                    "i": None, "j": 10}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "line 1"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: 'a' is given twice"),
        ("kind: bird\n  x: 1\n", "line 2"),
        ("a: !!python/name:os.system x", "line 1"),
        ("- a\n", "holds no keys of a recipe"),
        ("", "holds no keys of a recipe"),
        ("1: 2", "holds no keys of a recipe"),
        ("a: \x07", "no YAML"),
    ],
)
def test_a_broken_file_is_one_line_with_its_name(tmp_path, content, message):
    file = tmp_path / "broken.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"broken\.yaml: .*" + re.escape(message)) as caught:
        read_recipe_file(file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.yaml: No such file"):
        read_recipe_file(tmp_path / "gone.yaml")


def test_what_is_a_file_a_folder_a_name_or_an_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("kind: bird")
    (tmp_path / "photos").mkdir()
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert what_layer("mine.yaml") == {"kind": "bird"}
    assert what_layer("photos") == {"source": {"path": "photos"}}
    assert what_layer("org/name") == {"source": {"path": "org/name"}}
    assert what_layer("org/other.name-1") == {"source": {"path": "org/other.name-1"}}
    assert what_layer("cub")["kind"] == "bird"
    (tmp_path / "cub").mkdir()
    assert what_layer("cub") == {"source": {"path": "cub"}}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("cubb", "did you mean cub?"),
        ("", "the shipped recipes are aircraft"),
        ("a/b/c", "no file, no folder, no Hub id"),
        ("org/gone.yaml", "no file"),
        ("../x", "no file"),
        ("org/a--b", "no Hub id"),
        ("\0", "no file"),
        ("x" * 5000, "no file"),
        ("data.csv", "is a file, but no recipe"),
    ],
)
def test_what_is_nothing(tmp_path, monkeypatch, what, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").touch()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        what_layer(what)
    assert "\n" not in str(caught.value)


def test_shipped_recipes_are_found_by_name():
    assert "miniature" in shipped_recipes()
    assert shipped_recipe("miniature").is_file()
    assert shipped_recipe("nothing") is None
    assert [name for name in shipped_recipes() if name.endswith("-train")] == []
    assert shipped_recipe("../recipes/cub") is None


def test_a_recipe_goes_out_and_comes_in():
    recipe = build_recipe(
        FILE,
        {"preset": "paper", "model": {"scheduler": "X", "adapters": ["a"]}, "filter": {"policy": {"name": "rank"}}},
    )
    values = to_mapping(recipe)
    assert values["filter"]["policy"] == {"name": "rank", "by": "context_free", "alpha": 0.1, "floor": "auto"}
    assert values["model"]["adapters"] == [{"path": "a", "weight_name": None, "revision": None, "scale": 1.0}]
    assert to_mapping(build_recipe(values)) == values
    assert to_mapping(build_recipe(read_yaml(to_yaml(recipe)))) == values
    assert yaml.safe_load(to_yaml(recipe)) == values


def test_a_mapping_of_some_scopes():
    recipe = build_recipe({"source": "a"})
    assert set(to_mapping(recipe, ("free",))) == {
        "preset", "model", "include_originals", "include_rejected", "columns", "output", "limit",
        "batch_size", "part_size",
    }  # fmt: skip
    assert to_mapping(recipe, ("decision",))["filter"] == {
        "policy": {"name": "rank", "by": "context_free", "alpha": 0.1, "floor": "auto"},
        "references": 200,
        "checks": [],
    }
    assert "policy" not in to_mapping(recipe, ("attempt",))["filter"]


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("org/cub-200_2011", "out/cub-200_2011"),
        ("./my photos/", "out/my-photos"),
        ("C:\\data\\birds", "out/birds"),
        ("/", "out/dataset"),
        ("a/Vögel!", "out/V-gel"),
        ("x/...", "out/dataset"),
    ],
)
def test_the_output_is_named_after_the_source(path, output):
    assert default_output(build_recipe({"source": path})) == output


def test_the_output_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "birds").mkdir()
    monkeypatch.chdir(tmp_path / "birds")
    assert default_output(build_recipe({"source": "."})) == "out/birds"
