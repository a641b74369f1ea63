"""Tests of the comparison of a card with the rendered one: edits of a person are notes, other changes are faults."""

import re

import pytest
from card_facts import example_facts, example_manifest

from diffcore_hf.publishing.audit.card_text import check_card
from diffcore_hf.publishing.audit.report import Verification
from diffcore_hf.publishing.card.code_blocks import with_location
from diffcore_hf.publishing.card.dataset_card import render_card, with_claim
from diffcore_hf.publishing.card.edits import with_edits
from diffcore_hf.publishing.card.text import merge_free_sections

OWN = "<!-- free:start about -->\nMy birds.\n<!-- free:end -->\n<!-- free:start more -->\nMore.\n<!-- free:end -->\n"


@pytest.fixture(scope="module")
def card():
    return render_card(example_facts())


def checked(text, card, same_version=True):
    result = Verification()
    check_card(text, card, result, same_version=same_version, values=example_manifest())
    return result


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card,
        lambda card: card.replace("\n", "\r\n"),
        lambda card: with_location(card, "org/birds", "v1.0.0"),
        with_claim,
        lambda card: with_edits(card, None),
    ],
)
def test_a_card_that_was_written_or_pushed_has_no_fault(card, change):
    assert checked(change(card), card) == Verification()


def test_edited_free_sections_and_metadata_are_notes(card):
    text = merge_free_sections(card, OWN).replace("license: apache-2.0", "license: mit")
    assert checked(with_edits(text, None), card) == Verification(
        [],
        [
            "README.md: the metadata license are edited",
            "README.md: the free section 'about' is edited",
            "README.md: the free section 'more' is edited",
        ],
    )


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("| kept | 221 |", "| kept | 222 |", "README.md: line .* is '| kept | 222 |.* instead of '| kept | 221 |"),
        ("## Licences\n", "", "README.md: '## Licences' is missing before line "),
        ("## Licences\n", "## Licences\nCC0.\n", "README.md: line .* does not follow from the published files: 'CC0.'"),
        ("1K<n<10K", "1K<n<1K", "README.md: the metadata 'size_categories' do not describe the files"),
        ("config_name: default", "config_name: other", "README.md: the metadata 'configs' do not describe the files"),
        ("license:", "license: [", "README.md: the metadata between the `---` lines are not valid YAML"),
        ("<!-- free:end -->", "<!-- free:ent -->", "README.md: the free section 'about' has no end"),
    ],
)
def test_another_change_is_a_fault(card, old, new, fault):
    assert old in card
    faults = checked(card.replace(old, new, 1), card).faults
    assert len(faults) == 1 and faults[0].startswith(fault.split(".*")[0])
    assert all(part in faults[0] for part in fault.split(".*"))


def test_a_damaged_record_of_the_last_push_is_a_fault(card):
    text = with_edits(card, None).replace('{"metadata', "{metadata")
    assert checked(text, card).faults == ["README.md: the record of the last push is damaged"]


def test_of_a_card_of_another_version_only_the_values_are_compared(card):
    text = card.replace("A filter decided", "The filter decided")
    assert checked(text, card, same_version=False).faults == []
    for old, new, what in (
        ("| kept | 221 |", "| kept | 220 |", "the number 'kept'"),
        ("a1" * 16, "a2" * 16, "the attempt digest"),
    ):
        result = checked(text.replace(old, new), card, same_version=False)
        assert result.faults == [f"README.md: {what} is not that of diffcore.json"] and len(result.notes) == 1


@pytest.mark.parametrize(
    ("addition", "fault"),
    [
        ("\n" * 300_000, None),
        ("<!-- free:start more -->\n" * 30_000, "has no end"),
        ("a\n" * 60_000, "'a' is missing|line .* follow|line .* is"),
        ("`" * 300_000, "line"),
        ("<!-- from here: " + "[" * 100_000 + " -->\n", "the record of the last push is damaged"),
    ],
    ids=["empty lines", "sections", "lines", "fences", "deep record"],
)
def test_a_hostile_card_is_compared_in_linear_time(card, addition, fault):
    result = checked(card + addition, card)
    assert (not result.faults) if fault is None else re.search(fault, result.faults[0])


@pytest.mark.parametrize(
    "line",
    [
        "a: 2001-99-99",
        "a: " + "9" * 6000,
        "a: " + "[" * 1000,
        "a: &a [*a]",
        "a: !!bool x",
        "a: &a [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)),
    ],
    ids=["no date", "6000 digits", "1000 levels", "list of itself", "no boolean", "billions of items"],
)
def test_metadata_that_yaml_cannot_build_are_one_fault(card, line):
    [fault] = checked(card.replace("---\n", f"---\n{line}\n", 1), card).faults
    assert fault.startswith("README.md: the metadata between") and "\n" not in fault
