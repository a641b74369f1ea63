"""Tests of the prompt texts of a recipe: prompts by class and context, and the notes about them."""

import time

import pytest

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.kinds import TEMPLATES
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.prompt_texts import make_prompt_texts


def texts_of(names, **keys):
    return make_prompt_texts(build_recipe({"source": "photos"}, keys), names)


def test_a_class_in_a_context_has_two_prompts():
    texts = texts_of(["001.crow", "toy_poodle"], prompts={"contexts": ["in fog", ""]}, kind="pet")
    positive, negative = texts.prompt_pair(0, "in fog", {})
    assert positive == "a photo of a crow, a pet, in fog"
    assert "plush toy" in negative
    assert texts.captions() == ["a photo of a crow, a pet", "a photo of a toy poodle, a pet"]


def test_the_note_about_removed_negative_terms_has_their_number():
    (note,) = texts_of(["crow", "sketch"], prompts={"contexts": ["in fog", ""]}).notes
    assert note == "2 built-in negative terms removed because they contradict the label or the context"
    assert texts_of(["crow"], prompts={"contexts": [""]}).notes == ()


@pytest.mark.parametrize(
    ("keys", "noted"),
    [
        ({"preset": "paper"}, True),
        ({"prompts": {"template": "paper"}, "model": {"gamma": 6.5}}, True),
        (
            {"prompts": {"template": TEMPLATES["paper"]}, "model": {"gamma": 6.5}},
            True,
        ),
        ({"preset": "paper", "model": {"gamma": 2.0}}, False),
        ({"model": {"gamma": 6.5}}, False),
    ],
)
def test_our_assumption_about_gamma_is_noted(keys, noted):
    expected = ("the template is the paper's, but the paper gives no gamma: 6.5 is an assumption of this project",)
    assert texts_of(["crow"], **keys).notes == (expected if noted else ())


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["134.crane", "517.crane", "owl"], "'crane' (134.crane, 517.crane). Give"),
        (["1_Owl", "2_owl", "3_owl", "4_owl"], "'Owl' (1_Owl, 2_owl, 3_owl, ...). Give"),
        ([f"{n}_{word}" for n in (1, 2) for word in "abcd"], "'c' (1_c, 2_c) and 1 more. Give"),
    ],
)
def test_classes_with_equal_names_in_prompts_are_listed(names, listed):
    (note,) = texts_of(names).notes
    assert note.startswith("classes that share a name in prompts: ")
    assert listed in note
    assert note.endswith("with prompts.label_descriptions")


def test_a_class_description_makes_equal_prompt_names_different():
    assert texts_of(["134.crane", "517.crane"], prompts={"label_descriptions": {"134.crane": "crane bird"}}).notes == ()


OPAQUE = ["017", "n01440764", "owl"]
WORDS = {"017": "<c0>", "n01440764": "<c1>", "owl": "<c2>"}


def with_words(words=WORDS, names=OPAQUE, **keys):
    return make_prompt_texts(build_recipe({"source": "photos"}, keys), names, words)


def test_a_class_with_a_word_needs_no_readable_name():
    texts = with_words(kind="bird")
    assert texts.names == tuple(OPAQUE)
    assert texts.prompt_pair(0, "", {})[0] == "a photo of a <c0>, a bird"
    assert [texts.description(label) for label in range(3)] == ["bird", "bird", "owl"]
    assert with_words().description(0) == "object"


def test_a_class_that_the_user_named_keeps_this_name_as_its_description():
    named = with_words(source={"label_names": {"017": "747"}}, prompts={"label_descriptions": {"n01440764": "tench"}})
    assert [named.description(label) for label in range(3)] == ["747", "tench", "owl"]


@pytest.mark.parametrize(
    "policy", [{"name": "rank"}, {"name": "all"}, {"name": "mean"}, {"name": "rank", "by": "classifier"}]
)
def test_policies_that_read_no_names_accept_opaque_names(policy):
    assert with_words(filter={"policy": policy}).opaque == {0, 1}


@pytest.mark.parametrize(
    ("keys", "words", "remedy"),
    [
        ({}, {}, None),
        ({}, {"017": "<c0>"}, None),
        ({"filter": {"policy": {"name": "text_softmax"}}}, WORDS, ("filter", "policy", "name", "rank")),
        ({"filter": {"policy": {"name": "rank", "by": "text"}}}, WORDS, ("filter", "policy", "by", "context_free")),
    ],
    ids=["no words", "a class without a word", "text_softmax", "by text"],
)
def test_an_opaque_name_that_a_model_reads_is_one_line_and_its_remedies_work(keys, words, remedy):
    with pytest.raises(UserError, match=r"class '.*' is an opaque id.*--source\.label_names") as raised:
        with_words(words, **keys)
    assert "\n" not in str(raised.value)
    described = {"017": "a tench", "n01440764": "a sea lion"}
    with_words(words, source={"label_names": described}, **keys)
    with_words(words, prompts={"label_descriptions": described}, **keys)
    if remedy is not None:
        section, name, key, value = remedy
        assert f"--{section}.{name}.{key} {value}" in str(raised.value)
        with_words(words, **{section: {name: {**keys[section][name], key: value}}})


@pytest.mark.slow  # other processes on the machine lengthen the measured processor time
def test_ten_thousand_classes_take_little_processor_time():
    names = [f"{number:05d}.Footed_Albatross_{number}x" for number in range(10_000)]
    began = time.process_time()
    texts = texts_of(names, kind="bird")
    assert time.process_time() - began < 3
    assert len({text for texts in texts.negatives for text in texts}) == 1
