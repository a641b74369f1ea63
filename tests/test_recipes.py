"""Tests of the shipped recipes: each is found by its name, is valid, and begins with its command."""

import pytest

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.kinds import PAPER_CONTEXTS
from diffcore_hf.config.layers import positional_layer
from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.config.recipe_files import read_recipe_file, shipped_recipe, shipped_recipes


def test_the_package_contains_its_recipes():
    assert {"miniature", "cub", "cub-sdxl", "cub-paper", "cars", "flowers", "aircraft", "food101", "clothing"} <= set(
        shipped_recipes()
    )


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_is_valid_and_begins_with_its_command(name):
    recipe = build_recipe(positional_layer(name))
    assert recipe.output == f"out/{name}"
    head = shipped_recipe(name).read_text().split("\n\n")[0]
    assert head.startswith("# ")
    assert f"diffcore-hf augment {name}" in head


def test_the_miniature_recipe_uses_the_prompted_contexts_of_its_world():
    from diffcore_hf.miniature.world import PROMPTED_CONTEXTS

    recipe = build_recipe(positional_layer("miniature"))
    assert set(recipe.prompts.contexts) == set(PROMPTED_CONTEXTS)
    assert (recipe.source.path, recipe.kind, recipe.model.steps) == ("./out/birds", "bird", 16)


def test_recipe_cub_paper_has_the_settings_of_the_paper():
    recipe = build_recipe(positional_layer("cub-paper"))
    assert recipe.filter.policy == PolicyConfig("mean")
    assert recipe.prompts.contexts == PAPER_CONTEXTS
    assert recipe.model.family_preset == "cosxl"
    assert (recipe.model.gamma, recipe.model.steps, recipe.model.size) == (6.5, 50, 512)
    assert "LICENCE" in shipped_recipe("cub-paper").read_text()


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_source_and_models_of_the_miniature_fit_every_shipped_recipe(name):
    small = read_recipe_file(shipped_recipe("miniature"))
    places = {key: {"path": small[key]["path"]} for key in ("model", "filter")}
    recipe = build_recipe(positional_layer(name), {"source": small["source"], **places})
    assert (recipe.model.family_preset, recipe.source.revision) == (None, None)
