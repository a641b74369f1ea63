"""Tests of text on a card: text from datasets has no effect as Markdown, and free sections are kept."""

from __future__ import annotations

import html
import re

import pytest
from card_facts import hostile
from hypothesis import example, given, settings

from diffcore_hf.publishing.card.text import (
    Markdown,
    code,
    escape_md,
    fenced,
    free_sections,
    listed,
    merge_free_sections,
    one_line,
)


def visible(markdown: str) -> str:
    """Return what a reader sees: backslash escapes and entities are resolved."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", lambda match: f"&#{ord(match.group(1))};", markdown))


@given(hostile)
@settings(max_examples=300, deadline=None)
def test_escaped_text_is_one_line_without_markup_and_shows_the_same_characters(text):
    escaped = escape_md(text)
    assert len(escaped.splitlines()) <= 1
    assert not re.search(r"[<>|`{}@]", escaped)
    assert not re.search(r"(?<!\\)[*_\[\]~$]", escaped)
    assert not re.match(r"[-+] |--|=|\d[.)] ", escaped)
    assert visible(escaped) == one_line(text)
    escaped.encode("utf-8")


@given(hostile)
@example("a|b\nc")
@settings(max_examples=200, deadline=None)
def test_a_hostile_label_adds_no_row_heading_or_tag(text):
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")

    def shape(label: str) -> list[str]:
        cell = escape_md(label)
        page = f"{cell}\n\n| head |\n|---|\n| {cell} |\n\n- {cell}\n\n{code(label)}\n"
        blocks = parser.parse(page)
        inner = [
            child.type
            for block in blocks
            for child in block.children or ()
            if child.type not in ("text", "text_special")
        ]
        return [block.type for block in blocks] + [kind for kind in inner if kind != "code_inline"]

    if one_line(text):
        assert shape(text) == shape("harmless")


def test_markdown_is_not_escaped():
    assert escape_md(Markdown("**a**")) == "**a**"
    assert listed(["a|b", Markdown("`c`")]) == "a&#124;b, `c`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name-1.0", "`org/name-1.0`"),
        ("guidance_scale = 3.0", "`guidance_scale = 3.0`"),
        ("a`b", "a&#96;b"),
        ("", ""),
    ],
)
def test_only_text_without_special_characters_is_formatted_as_code(text, expected):
    assert code(text) == expected


def test_text_cannot_end_its_code_block():
    block = fenced("a\n```\n# out\n````", "yaml")
    first, *_, last = block.splitlines()
    assert first == "`````yaml"
    assert last == "`````"


CARD = "# New\n\n<!-- free:start about -->\n<!-- yours -->\n<!-- free:end -->\n\nend\n"


@pytest.mark.parametrize("old", [None, "", "# Old card without sections\n", CARD])
def test_without_edits_the_new_card_is_unchanged(old):
    assert merge_free_sections(CARD, old) == CARD


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_edited_sections_are_kept(newline):
    old = CARD.replace("<!-- yours -->", "My words: \\1 {{ x }}\n\n## My heading").replace("# New", "# Old")
    merged = merge_free_sections(CARD, old.replace("\n", newline))
    assert merged == CARD.replace("<!-- yours -->", "My words: \\1 {{ x }}\n\n## My heading")
    assert merge_free_sections(CARD, merged) == merged


def test_sections_that_the_new_card_lacks_are_appended():
    old = "<!-- free:start old -->\nkeep me\n<!-- free:end -->\n"
    assert free_sections(merge_free_sections(CARD, old))["old"] == "keep me\n"


def test_two_sections_of_one_name_are_refused():
    one = "<!-- free:start a -->\nmine\n<!-- free:end -->\n"
    with pytest.raises(ValueError, match="two free sections are named 'a'. Rename one of them"):
        merge_free_sections(CARD, f"{one}\n{one}")


@pytest.mark.parametrize(
    "old",
    [
        "<!-- free:start about -->\nno end\n",
        "<!-- free:start a -->\nno end\n<!-- free:start b -->\n<!-- free:end -->\n",
    ],
)
def test_a_section_without_an_end_is_refused(old):
    with pytest.raises(ValueError, match="has no end"):
        merge_free_sections(CARD, old)
