"""Tests of the text of the dataset card about the strategy and about labels with several classes."""

from __future__ import annotations

import pytest
from card_facts import example_facts, example_manifest, printed_recipe

from diffcore_hf.publishing.card.dataset_card import render_card
from diffcore_hf.publishing.card.text import escape_md


def test_the_card_names_a_strategy_and_checks_of_the_user():
    manifest = example_manifest()
    manifest["recipe"]["strategy"] = {"name": "own_module:Blur", "options": {"radius": 2}}
    manifest["recipe"]["filter"]["checks"] = ["card_facts:OWN_CHECK"]
    text = render_card(example_facts(manifest=manifest))
    assert "The strategy `own_module:Blur` made the generated images" in text
    assert "**Strategy:** `own_module:Blur`, options: radius 2.\n" in text
    assert f"**Checks that the recipe adds:** {escape_md('card_facts:OWN_CHECK')}." in text
    assert "- `too_blue`: the image is too blue" in text
    assert "strategy:\n  name: own_module:Blur\n  options:\n    radius: 2\n" in text
    assert "Strategy" not in render_card(example_facts())


def drawn_classes(**changed) -> dict:
    """Return the manifest of a run whose images show drawn classes."""
    manifest = example_manifest(**changed)
    strategy = {"name": "inter_class", "targets": "any", "gamma_label": 0.5, "options": {"strength": 0.7}}
    return manifest | {"recipe": manifest["recipe"] | {"strategy": strategy}}


@pytest.mark.parametrize("layout", ["columns", "rows", "mixed"])
def test_the_card_explains_labels_with_several_classes(layout):
    card = render_card(example_facts(manifest=drawn_classes(layout=layout)))
    for words in ("`target_label`", "`target_weight`", "gamma_label = 0.5", "Diff-Mix", "gets wrong labels"):
        assert words in card
    assert "generated** image of the same class" not in card
    assert "timm's own reader" not in card
    assert ("MixTransform(size=224, classes=" in card) == (layout == "columns")
    recipe = printed_recipe(card, source="photos")
    assert recipe["strategy"] == drawn_classes()["recipe"]["strategy"]


def test_a_card_without_drawn_classes_has_no_word_about_them():
    card = render_card(example_facts())
    assert "target_label" not in card
    assert "gamma_label" not in card
