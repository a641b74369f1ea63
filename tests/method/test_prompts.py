"""Tests of the texts of the two prompts of Eq. 4: class names, templates, articles, negative terms, and lint."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcore_hf.config.augment import PromptsConfig
from diffcore_hf.config.kinds import KINDS, PAPER_CONTEXTS, TEMPLATES
from diffcore_hf.method.prompts import (
    clean_label,
    contexts_of,
    contradicts,
    lint,
    negative_prompts,
    negatives_of,
    prompt_names,
    render_prompt,
    template_fields,
)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("200.Common_Yellowthroat", "Common Yellowthroat"),
        ("1. house finch", "house finch"),
        ("12) crow", "crow"),
        ("12 - crow", "crow"),
        ("01-crow", "crow"),
        ("007_crow", "crow"),
        ("1_crow", "crow"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("2012 BMW M3", "2012 BMW M3"),
        ("2012_BMW_M3", "2012 BMW M3"),
        ("BMW M3 Coupe 2012", "BMW M3 Coupe 2012"),
        ("747-400", "747-400"),
        ("A320", "A320"),
        ("F-16A/B", "F-16A/B"),
        ("F/A-18", "F/A-18"),
        ("BAE_146-200", "BAE 146-200"),
        ("3-wheeler", "3-wheeler"),
        ("3.5 inch disk", "3.5 inch disk"),
        ("4-door sedan", "4-door sedan"),
        ("T-shirt", "T-shirt"),
        ("macaroni_and_cheese", "macaroni and cheese"),
        ("apple___black_rot", "apple black rot"),
        ("abbey/indoor", "abbey indoor"),
        ("birds\\crow", "birds crow"),
        ("snow%20leopard", "snow leopard"),
        ("  a \t  b\n", "a b"),
        ("\u200bcrow\ufeff", "crow"),
        ("camelCase", "camelCase"),
        ("Élan", "Élan"),
        ("孔雀", "孔雀"),
        ("001.", "001"),
        ("n01440764", "n01440764"),
        (".hidden_", "hidden"),
        ("???", ""),
        ("", ""),
        ("\ud800", ""),
    ],
)
def test_labels_are_cleaned(name, clean):
    assert clean_label(name) == clean


@given(st.text())
def test_cleaning_never_raises_and_keeps_letters_or_digits(name):
    clean = clean_label(name)
    assert any(c.isalnum() for c in clean) == any(c.isalnum() for c in name)
    assert clean == " ".join(clean.split())
    assert clean.isprintable()
    clean.encode()


@given(st.text(), st.text(), st.text())
def test_any_text_can_be_rendered(label, noun, value):
    prompt = render_prompt("a photo of a {label}, a {kind}, {context}, {x}", label, noun, "in fog", {"x": value})
    assert prompt.startswith("a")
    assert "in fog" in prompt
    assert prompt == " ".join(prompt.split())
    assert "\0" not in prompt


@pytest.mark.parametrize(
    ("template", "label", "kind", "context", "prompt"),
    [
        ("caption", "crow", "bird", "in heavy snow", "a photo of a crow, a bird, in heavy snow"),
        ("caption", "crow", "bird", "", "a photo of a crow, a bird"),
        ("caption", "crow", "general", "in heavy snow", "a photo of a crow, in heavy snow"),
        ("caption", "crow", "general", "", "a photo of a crow"),
        ("caption", "owl", "aircraft", "", "a photo of an owl, an aircraft"),
        ("caption", "shirt", "clothing", "on a hanger", "a photo of a shirt, a piece of clothing, on a hanger"),
        ("paper", "crow", "bird", "heavy snow", "Generate heavy snow to the crow, a bird object"),
        ("paper", "crow", "general", "heavy snow", "Generate heavy snow to the crow, an object"),
        ("paper", "the sun", "general", "rain", "Generate rain to the sun, an object"),
        ("{context}: {label} {{ok}}", "crow", "bird", "near a {label}", "near a crow: crow {ok}"),
        ("A {label}", "egret", "bird", "", "An egret"),
        ("a {label}, {context}, on film", "crow", "bird", "", "a crow, on film"),
        ("a photo of a {label}", "a crane, a tall bird", "bird", "", "a photo of a crane, a tall bird"),
    ],
)
def test_prompts_are_rendered_from_the_template(template, label, kind, context, prompt):
    assert render_prompt(template, label, KINDS[kind].noun, context) == prompt


@pytest.mark.parametrize(
    ("word", "article"),
    [
        ("crow", "a"), ("albatross", "an"), ("Élan", "an"), ("unicorn", "a"), ("umbrella", "an"),
        ("uninhabited isle", "an"),
        ("European robin", "a"), ("Emu", "an"), ("one-piece", "a"), ("hourglass", "an"), ("house", "a"),
        ("honeyeater", "a"),
        ("A320", "an"), ("F-16", "an"), ("MD-11", "an"), ("BMW M3", "a"), ("SUV", "an"), ("T-shirt", "a"),
        ("X-ray", "an"),
        ("8 ball", "an"), ("18-wheeler", "an"), ("747-400", "a"), ("1967 Ford", "a"), ("utensil", "a"), ("urn", "an"),
    ],
)  # fmt: skip
def test_the_article_fits_the_class_name(word, article):
    assert render_prompt("a photo of a {label}", word, "", "") == f"a photo of {article} {word}"
    assert render_prompt("a photo of an {label}, x", word, "", "") == f"a photo of {article} {word}, x"


def test_columns_of_the_source_fill_their_placeholders():
    template = "a {label} at {place}, {scene type}"
    assert template_fields(template) == {"place", "scene type"}
    assert render_prompt(template, "crow", "", "", {"place": "{evil}", "scene type": None}) == "a crow at {evil}"
    assert template_fields("caption") == template_fields("paper") == set()
    with pytest.raises(ValueError, match=r"placeholder \{place\}, which has no value"):
        render_prompt(template, "crow", "", "", {})


@pytest.mark.parametrize("template", ["{label", "{label!r}", "{label:>3}", "{}", "a } b"])
def test_a_wrong_template_raises_an_error(template):
    with pytest.raises(ValueError, match=r"not a plain name|do not pair"):
        template_fields(template)


def test_a_dot_in_a_placeholder_is_part_of_its_name():
    assert template_fields("{label.__class__}") == {"label.__class__"}
    with pytest.raises(ValueError, match="has no value"):
        render_prompt("{label.__class__}", "crow", "", "")


def test_class_names_are_cleaned_kept_or_replaced():
    names = ["001.crane", "002.Snow_Owl"]
    assert prompt_names(names) == ["crane", "Snow Owl"]
    assert prompt_names(names, "raw") == names
    assert prompt_names(names, {"001.crane": "common crane"}) == ["common crane", "Snow Owl"]
    assert prompt_names(names, "clean", {"crane": "crane, a tall bird"}) == ["crane, a tall bird", "Snow Owl"]
    assert prompt_names(names, "clean", {"002.Snow_Owl": "white owl"}) == ["crane", "white owl"]
    assert prompt_names(["0", "1"], {"0": "cat", "1": "dog"}) == ["cat", "dog"]
    assert prompt_names(["n01440764"], "clean", {"n01440764": "tench, a fish"}) == ["tench, a fish"]


@pytest.mark.parametrize(
    ("names", "label_names", "descriptions", "message"),
    [
        (["crow", "owl"], {"crw": "x"}, None, "'crw', which is not a class of the dataset. Similar classes: 'crow'"),
        (["crow", "owl"], "clean", {"owll": "x"}, "prompts.label_descriptions names 'owll', which is not a class"),
        (["134.crane", "517.crane"], "clean", {"crane": "x"}, "matches '134.crane', '517.crane'. Use the full name"),
        (["crow", "n01440764"], "clean", None, "class 'n01440764' is an opaque id"),
        (["0"], "clean", None, "class '0' is an opaque id"),
        (["0", "1"], {"0": "cat"}, None, "class '1' is an opaque id"),
        (["deadbeef01"], "raw", None, "is an opaque id"),
        (["123e4567-e89b-12d3-a456-426614174000"], "clean", None, "is an opaque id"),
        (["class_12"], "clean", None, "is an opaque id"),
        (["???"], "clean", None, "is an opaque id"),
    ],
)  # fmt: skip
def test_unusable_class_names_raise_an_error(names, label_names, descriptions, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        prompt_names(names, label_names, descriptions)
    assert "\n" not in str(caught.value)
    if "opaque" in message:
        assert "--source.label_names" in str(caught.value)
        assert "prompts.label_descriptions" in str(caught.value)


@pytest.mark.parametrize("name", ["facade", "747-400", "A320", "decade", "class", "n5", "beef"])
def test_class_names_that_resemble_ids_are_accepted(name):
    assert prompt_names([name]) == [name]


@pytest.mark.parametrize(
    ("term", "text", "expected"),
    [
        ("a Crow toy", "crow", True),
        ("crow", "American Crow", True),
        ("rain", "in the rain", True),
        ("scarecrow", "crow", False),
        ("rain", "by a train", False),
        ("STRASSE", "an der Straße", True),
        ("", "crow", False),
        ("blurry", "", False),
        ("extra legs", "extra long legs", False),
    ],
)
def test_a_negative_term_contradicts_a_text_only_by_whole_words(term, text, expected):
    assert contradicts(term, text) is expected
    assert contradicts(text, term) is expected


def test_a_built_in_negative_term_that_contradicts_the_prompt_is_removed_and_counted():
    assert negative_prompts(["blurry", "toy"], ["toy poodle"], [""], builtin=True) == ([("blurry",)], 1)
    assert negative_prompts(["rain"], ["crow"], ["in the rain"], builtin=True) == ([(None,)], 1)
    assert negative_prompts([], ["crow"], [""], builtin=False) == ([(None,)], 0)
    terms, labels, contexts = ["blurry", "rain", "toy"], ["crow", "toy poodle", "rain toy"], ["", "in the rain"]
    assert negative_prompts(terms, labels, contexts, builtin=True) == (
        [("blurry, rain, toy", "blurry, toy"), ("blurry, rain", "blurry"), ("blurry", "blurry")], 8
    )  # fmt: skip
    assert negative_prompts(["blurry", "low light"], ["crow"], ["in fog", ""], builtin=False) == (
        [("blurry, low light",) * 2], 0
    )  # fmt: skip


@pytest.mark.parametrize(
    ("term", "context", "message"),
    [
        ("a crow toy", "", "has 'a crow toy', which contradicts the label 'crow'"),
        ("rain", "in the rain", "has 'rain', which contradicts the context 'in the rain'"),
    ],
)
def test_a_negative_term_of_the_user_that_contradicts_the_prompt_raises_an_error(term, context, message):
    with pytest.raises(ValueError, match=message):
        negative_prompts([term], ["owl", "crow"], ["", context], builtin=False)


def test_contexts_and_negatives_come_from_the_recipe_or_from_the_kind():
    assert contexts_of(PromptsConfig(), "bird") == KINDS["bird"].contexts
    assert contexts_of(PromptsConfig(template="paper"), "bird") == PAPER_CONTEXTS
    assert contexts_of(PromptsConfig(contexts=("in fog",)), "bird") == ("in fog",)
    assert negatives_of(PromptsConfig(), "bird") == (KINDS["bird"].negatives, True)
    assert negatives_of(PromptsConfig(negatives=KINDS["bird"].negatives), "bird") == (KINDS["bird"].negatives, True)
    assert negatives_of(PromptsConfig(negatives=()), "bird") == ((), False)


@pytest.mark.parametrize("name", KINDS)
def test_the_contexts_and_negatives_of_each_kind_are_well_formed(name):
    kind = KINDS[name]
    assert kind.contexts[0] == ""
    assert 6 <= len(kind.contexts) <= 10
    for words in (kind.contexts, kind.negatives):
        assert len(set(words)) == len(words)
        assert all(word == " ".join(word.split()) for word in words)
    prompts, removed = negative_prompts(kind.negatives, ["zebra"], kind.contexts, builtin=True)
    assert removed == 0
    assert set(prompts[0]) == {", ".join(kind.negatives)}
    # CLIP's text encoder uses 77 tokens. Each word is at least one token, and each comma is one.
    assert len(prompts[0][0].split()) < 50


def test_the_template_named_paper_and_its_contexts_are_those_of_the_paper():
    assert TEMPLATES["paper"] == "Generate {context} to the {label}, a {kind} object"
    assert PAPER_CONTEXTS[0] == "heavy snow"
    assert "" not in PAPER_CONTEXTS


def test_lint_warns_about_prompts_that_are_cut():
    long = "word " * 80
    assert lint(["short", long, long]) == lint([long])
    assert lint([long])[0].startswith("at least 82 tokens, but the text encoder uses only the first 77")
    assert lint(["a b c"], tokenize=str.split, max_length=2)[0].startswith(
        "3 tokens, but the text encoder uses only the first 2"
    )
    assert lint(["a b"], tokenize=str.split, max_length=2) == []
