"""Tests of layers: nested mappings of settings that are built from a positional argument and from keywords."""

import re

import pytest

from diffcore_hf.config.augment import ModelConfig, SourceConfig
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.layers import keywords_layer, positional_layer


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
def test_keywords_become_a_layer(keywords, layer):
    assert keywords_layer(**keywords) == layer


def test_keywords_accept_section_objects():
    recipe = build_recipe(keywords_layer(source=SourceConfig("a"), model=ModelConfig(steps=4)))
    assert (recipe.source, recipe.model) == (SourceConfig("a"), ModelConfig(steps=4))


@pytest.mark.parametrize("keywords", [{"split": "a", "source.split": "b"}, {"fraction": 1, "fraction.x": 2}])
def test_a_keyword_given_twice_is_an_error(keywords):
    with pytest.raises(ValueError, match="is given twice"):
        keywords_layer(**keywords)


def test_the_first_argument_may_be_a_file_a_folder_a_recipe_name_or_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("kind: bird")
    (tmp_path / "photos").mkdir()
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert positional_layer("mine.yaml") == {"kind": "bird"}
    assert positional_layer("photos") == {"source": {"path": "photos"}}
    assert positional_layer("org/name") == {"source": {"path": "org/name"}}
    assert positional_layer("org/other.name-1") == {"source": {"path": "org/other.name-1"}}
    assert positional_layer("cub")["kind"] == "bird"
    (tmp_path / "cub").mkdir()
    assert positional_layer("cub") == {"source": {"path": "cub"}}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("cubb", "did you mean cub?"),
        ("", "the shipped recipes are aircraft"),
        ("a/b/c", "not a file, a folder, a Hub id"),
        ("org/gone.yaml", "not a file"),
        ("../x", "not a file"),
        ("org/a--b", "not a file, a folder, a Hub id"),
        ("\0", "not a file"),
        ("x" * 5000, "not a file"),
        ("data.csv", "is a file, not a recipe"),
    ],
)
def test_an_invalid_first_argument_gives_a_one_line_error(tmp_path, monkeypatch, what, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").touch()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        positional_layer(what)
    assert "\n" not in str(caught.value)
