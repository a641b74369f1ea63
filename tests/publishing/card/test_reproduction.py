"""Tests of the recipe that the dataset card prints: it can be copied, and it builds the recipe of the run."""

from __future__ import annotations

import pytest
from card_facts import example_facts, example_manifest, printed_recipe, with_adapters, with_resolved

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.publishing.card.dataset_card import render_card


def test_the_recipe_can_be_copied_out_of_the_card():
    text = render_card(example_facts())
    assert "replace `YOUR/SOURCE` by a path of your own" in text
    assert "path: YOUR/SOURCE  # local:0123456789abcdef\n" in text
    values = printed_recipe(text, source="./birds")
    assert values["model"]["path"] == "package:diffcore_hf.miniature/models/sd"
    assert values["filter"]["path"] == "package:diffcore_hf.miniature/models/clip"
    assert "identity" not in str(values)
    recipe = build_recipe(values)
    assert (recipe.source.path, recipe.model.steps, recipe.model.size) == ("./birds", 20, 64)
    assert recipe.filter.policy.by == "classifier"
    assert recipe.prompts.contexts == ("in heavy snow", "at sunset", "")


def test_paths_on_the_hub_are_pinned_in_the_recipe():
    commits = {"source": "1" * 40, "model": "2" * 40, "filter": "3" * 40}
    manifest = with_resolved(
        **{name: {"path": f"org/{name}-1.5", "identity": commit} for name, commit in commits.items()}
    )
    text = render_card(example_facts(manifest=manifest))
    assert "YOUR/" not in text
    assert f"| text-to-image model | `org/model-1.5` (SD) | `{'2' * 40}` |" in text
    recipe = build_recipe(printed_recipe(text))
    for name, commit in commits.items():
        part = getattr(recipe, name)
        assert (part.path, part.revision) == (f"org/{name}-1.5", commit)


def test_local_models_and_adapters_are_placeholders():
    manifest = with_adapters()
    manifest["resolved"]["model"]["path"] = "local:0011223344556677"
    manifest["resolved"]["filter"] = {"identity": "sha256:" + "d" * 64}
    text = render_card(example_facts(manifest=manifest))
    assert "replace `YOUR/SOURCE`, `YOUR/MODEL`, `YOUR/FILTER`, `YOUR/ADAPTER-2` by paths of your own" in text
    assert "path: YOUR/MODEL  # local:0011223344556677\n" in text
    assert "- path: YOUR/ADAPTER-2  # local:bbbbbbbbbbbbbbbb\n" in text
    recipe = build_recipe(printed_recipe(text, source="s", model="m", filter="f", adapter_2="a"))
    assert [(one.path, one.revision, one.weight_name, one.scale) for one in recipe.model.adapters] == [
        ("org/lora", "a" * 40, "x.safetensors", 0.5),
        ("a", None, None, 1.0),
    ]


def test_the_printed_recipe_has_a_comment_about_the_review_and_settings_outside_the_digests():
    manifest = with_resolved(source={"path": "in memory"})
    manifest["recipe"]["review"] = {"identity": "e" * 64}
    manifest["originals"] = False
    text = render_card(example_facts(manifest=manifest, columns_prefix="dc_"))
    assert f"\n# review: unpublished verdicts of a reviewer were also applied (sha256 {'e' * 64})" in text
    assert "path: YOUR/SOURCE  # in memory, local:0123456789abcdef\n" in text
    recipe = build_recipe(printed_recipe(text, source="./birds"))
    assert (recipe.review, recipe.columns.prefix, recipe.include_originals) == (None, "dc_", False)


@pytest.mark.parametrize("name", ["08", "1e5", "-3", ".5", "no", "a: b", "# x", "2026-01-01", "12:30", "null", "~"])
def test_class_names_that_look_like_yaml_values_are_texts_in_the_printed_recipe(name):
    manifest = example_manifest()
    manifest["recipe"]["source"]["label_names"] = {name: name}
    recipe = build_recipe(printed_recipe(render_card(example_facts(manifest=manifest)), source="./birds"))
    assert recipe.source.label_names == {name: name}
