"""Tests of the conversion of a recipe to plain values and YAML, and back."""

import yaml

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.mappings import to_mapping, to_yaml
from diffcore_hf.config.yaml_text import read_yaml

FILE = {"source": {"path": "org/a", "split": "test"}, "model": {"gamma": 3.0}, "fraction": 0.5}


def test_a_recipe_can_be_rebuilt_from_its_values_and_from_its_yaml():
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


def test_a_mapping_can_be_limited_to_some_scopes():
    recipe = build_recipe({"source": "a"})
    assert set(to_mapping(recipe, ("free",))) == {
        "source", "preset", "model", "include_originals", "include_rejected", "columns", "output", "limit",
        "batch_size", "part_size", "max_faulty", "accept_license",
    }  # fmt: skip
    assert to_mapping(recipe, ("decision",))["filter"] == {
        "policy": {"name": "rank", "by": "context_free", "alpha": 0.1, "floor": "auto"},
        "references": 200,
        "checks": [],
        "compare": [],
    }
    assert "policy" not in to_mapping(recipe, ("attempt",))["filter"]
