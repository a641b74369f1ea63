"""Tests of contexts that come from a file or from a function of the user."""

import os

import pytest

from diffcore_hf.config import context_lists
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.digests import attempt_digest
from diffcore_hf.core.errors import UserError

NAMES = {"source": "s1", "model": "m1", "filter": "f1"}


def build(**prompts):
    return build_recipe({"source": "org/name", "prompts": prompts})


def test_a_file_and_a_function_replace_the_contexts_and_have_the_digest_of_the_same_list(tmp_path):
    path = tmp_path / "contexts.txt"
    path.write_text('\ufeff""\r\n\r\n  in a field  \r\n', encoding="utf-8", newline="")
    listed = build(contexts=["", "in a field"])
    for recipe in (build(contexts_from=str(path)), build(contexts_from="own_contexts:own_contexts")):
        assert recipe == listed
        assert attempt_digest(recipe, NAMES, {}) == attempt_digest(listed, NAMES, {})


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "has no context"),
        (b"in snow\n\x1b[31min red\n", "has '\\x1b[31min red' with the control character '\\x1b'. Remove it"),
        (b"in\0snow", "has a byte 0, so it is no text in UTF-8"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"in snow\n" * 9, "prompts.contexts has 'in snow' twice"),
        (b"in {snow}\n", "unknown placeholder {snow}"),
        (b"a\n" * 60, "has more than 0 MiB"),
        (b"a\nb\nc\nd\n", "has 4 contexts. Give at most 3"),
    ],
)
def test_a_file_without_usable_contexts_is_one_line(tmp_path, monkeypatch, content, message):
    if "MiB" in message:
        monkeypatch.setattr(context_lists, "MAX_BYTES", 100)
    if "at most" in message:
        monkeypatch.setattr(context_lists, "MAX_CONTEXTS", 3)
    path = tmp_path / "contexts.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        build(contexts_from=str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pipe_a_folder_and_a_wrong_function_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for source, message in (
        (str(tmp_path / "pipe"), "is not a file"),
        (str(tmp_path), "is not a file"),
        (" ", "prompts.contexts_from is ' '"),
        ("own_contexts:missing", "is missing. Name a function"),
        ("own_contexts:no_contexts", "does not return a list of texts"),
        ("own_contexts:with_arguments", "a function that needs arguments. Name one without arguments"),
        ("own_contexts:half_a_character", "the control character '\\ud800'. Remove it"),
        ("a" * 300, "is not a file"),
        ("no_such_module:f", "there is no module 'no_such_module'"),
    ):
        with pytest.raises(UserError) as error:
            build(contexts_from=source)
        assert message in str(error.value)


def test_contexts_cannot_be_given_twice_and_the_remedy_works(tmp_path):
    path = tmp_path / "contexts.txt"
    path.write_text("in snow")
    with pytest.raises(UserError, match="are both given. Leave one out, e.g. with --prompts.contexts null"):
        build(contexts=["at night"], contexts_from=str(path))
    assert build(contexts=None, contexts_from=str(path)).prompts.contexts == ("in snow",)
