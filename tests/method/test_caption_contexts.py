"""Tests of contexts from captions: words of the class names and the description of the object are removed."""

import pytest
from hostile_names import hostile_names

from diffcore_hf.method.caption_contexts import context_of, contexts_from_captions

NAMES = ("Red winged Blackbird", "Tree Swallow", "Northern Cardinal")


@pytest.mark.parametrize(
    ("caption", "context"),
    [
        ("a red bird sitting on a branch in the snow", "sitting on a branch in the snow"),
        ("a small brown and white bird", ""),
        ("on a branch sits a red bird", "on a branch sits"),
        ("a photo of a cardinal on green grass.", "on green grass"),
        ("two blackbirds in tall reeds", "in tall reeds"),
        ("a red-winged blackbird, in a marsh at dawn", "in a marsh at dawn"),
        ("there is a snowy forest with tall trees", "snowy forest with tall trees"),
        ("a tree swallow in a tree", "in a tree"),
        ("a bird and a swallow near the sea", "near the sea"),
        ("BIRDS in a CITY", "in a CITY"),
        ("a bird in {label} water {", "in label water"),
        ("bird bird bird", ""),
        ("bird flying", ""),
        ("", ""),
    ],
)
def test_the_object_is_removed(caption, context):
    assert context_of(caption, NAMES[2], NAMES, "bird") == context


def test_only_the_own_class_loses_each_of_its_words():
    """The word `tree` belongs to one class. The captions of the other classes keep it."""
    assert context_of("a bird in a tall tree at night", NAMES[1], NAMES, "bird") == "at night"
    assert context_of("a bird in a tall tree at night", NAMES[0], NAMES, "bird") == "in a tall tree at night"


def test_each_context_is_listed_once_in_the_order_of_the_captions():
    captions = [("a bird in deep snow", 0), ("a bird", 0), ("a swallow on a wire", 1), ("a cardinal In deep snow", 2)]
    assert contexts_from_captions(captions, NAMES, "bird") == ["in deep snow", "on a wire"]
    assert contexts_from_captions([("a truck on a road", 0)], ("truck",), "") == ["on a road"]


def test_hostile_names_and_captions_give_printable_contexts_without_braces():
    names = hostile_names()
    for name in names:
        for caption in (f"a photo of a {name} sitting in deep snow", f"{name} {{label}} {name}", name):
            context = context_of(caption, name, names[:5], "bird")
            assert context.isprintable() and not {"{", "}"} & set(context)
