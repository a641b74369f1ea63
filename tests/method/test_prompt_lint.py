"""Tests of the rules of the lint: plurals, text that is cut, unreadable text, equal prompts, and ambiguous labels."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcore_hf.config.kinds import KINDS
from diffcore_hf.method.ambiguous_labels import MEANINGS, meanings_of
from diffcore_hf.method.prompt_lint import contains, contradicting_terms, cut_text, shared_prompts, unreadable


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("two fused cars", "car", True),
        ("a Sports Car", "sports cars", True),
        ("scar", "car", False),
        ("berries", "berry", True),
        ("glass", "glas", False),
        ("boxes", "box", True),
        ("a red car", "car red", False),
        ("bus", "bu", False),
        ("", "car", False),
        ("car", "", False),
        ("Gun_dog", "gun", True),
    ],
)
def test_a_phrase_is_found_as_whole_words_in_singular_and_plural(text, phrase, expected):
    assert contains(text, phrase) is expected


def test_terms_contradict_a_label_in_both_directions():
    assert contradicting_terms("blurry, plush toys, two fused cars", "toy poodle") == []
    assert contradicting_terms("blurry, toys, two fused cars", "toy poodle") == ["toys"]
    assert contradicting_terms("blurry, toys, two fused cars", "car") == ["two fused cars"]
    assert contradicting_terms("blurry", "") == []


def letters(text):
    """Returns one token for each letter, with a start and an end."""
    return ["<", *text, ">"]


@pytest.mark.parametrize(
    ("prompt", "limit", "cut"),
    [
        ("ab cd ef", 10, ""),
        ("ab cd ef", 9, "ef"),
        ("ab cd ef", 7, "ef"),
        ("ab cd ef", 6, "cd ef"),
        ("abcdef", 4, "abcdef"),
    ],
)
def test_the_text_that_is_cut_begins_with_the_first_word_that_does_not_fit(prompt, limit, cut):
    assert cut_text(prompt, letters, limit) == cut


@given(st.text(alphabet="ab ", max_size=40), st.integers(2, 30))
def test_the_words_before_the_cut_fit(prompt, limit):
    prompt = " ".join(prompt.split())
    kept = prompt.removesuffix(cut_text(prompt, letters, limit)).strip()
    assert len(letters(kept)) <= limit


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a red fox", ""),
        ("Größe, café, 狐", ""),
        ("747-400", ""),
        ("<c17>", ""),
        ("a <c17> bird", ""),
        ("red_fox", "'red_fox'"),
        ("fox {label}", "'{'"),
        ("fox &amp; hound", "'&amp;'"),
        ("red%20fox", "'%20'"),
        ("cafÃ©", "another encoding"),
        ("fo\ufffdx", "U\\+FFFD"),
        ("fox\u202e", "U\\+202E"),
        ("fox\x07", "U\\+0007"),
        ("---", "no letter"),
    ],
)
def test_text_that_is_not_a_phrase_has_a_reason(text, reason):
    found = unreadable(text)
    assert re.search(reason, found) if reason else found == ""


def test_the_built_in_texts_are_readable():
    for kind in KINDS.values():
        for text in (kind.noun, *kind.contexts, *kind.negatives):
            assert not text or unreadable(text) == ""


def test_prompts_are_equal_without_case_and_spaces():
    prompts = [("A fox", "first"), ("a  Fox", "second"), ("a wolf", "third")]
    assert shared_prompts(prompts) == {"a fox": ("first", "second")}


def test_an_ambiguous_name_is_the_whole_name_of_a_class():
    assert meanings_of(" Crane ") == ("a bird", "a machine")
    assert meanings_of("crane bird") is None
    assert all(name == name.casefold() and len(set(meanings)) == 2 for name, meanings in MEANINGS.items())
