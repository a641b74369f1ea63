"""Tests of edits of a card: edits in the folder or on the Hub are kept, and conflicting edits are refused."""

import pytest
import yaml

from diffcore_hf.publishing.card.edits import with_edits

BLANK = "<!-- Yours. -->\n"


def card(about=BLANK, **metadata):
    header = yaml.safe_dump({"license": "unknown", "tags": ["synthetic"], "configs": ["a"]} | metadata, sort_keys=False)
    return f"---\n{header}---\n\n# Birds\n\n<!-- free:start about -->\n{about}<!-- free:end -->\n\nCounts.\n"


def section(text):
    return text.partition("<!-- free:start about -->\n")[2].partition("<!-- free:end -->")[0]


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


WORDS, MINE, OLD = "From the web.\n", "From here.\n", "Old.\n"


def pushed(*edits):
    """Return the card on the Hub after edits. An edit is a local card to push, or a function of the Hub card."""
    card_on_hub = None
    for edit in edits:
        card_on_hub = edit(card_on_hub) if callable(edit) else with_edits(edit, card_on_hub)
    return card_on_hub


def writes(words):
    return lambda text: text.replace(
        f"<!-- free:start about -->\n{section(text)}", f"<!-- free:start about -->\n{words}"
    )


def sets(key, value):
    def change(text):
        head = header(text) | {key: value}
        return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n{text.partition(chr(10) + '---' + chr(10))[2]}"

    return change


@pytest.mark.parametrize(
    ("edits", "result"),
    [
        ((card(), writes(WORDS), card()), WORDS),
        ((card(), writes(WORDS), card(), card()), WORDS),  # the edit is still kept two versions later
        ((card(), writes(WORDS), card("<!-- Another placeholder. -->\n")), WORDS),
        ((card(), card(MINE)), MINE),
        ((card(MINE), card(OLD), card(MINE)), MINE),
        ((card(MINE), writes(WORDS), card(MINE), card(MINE)), WORDS),
        ((card(MINE), writes(WORDS), card(WORDS)), WORDS),
        ((card(MINE), card()), BLANK),
        ((card(), writes(WORDS), card(), writes(BLANK), card()), BLANK),
    ],
)
def test_a_section_that_only_one_side_changed_keeps_the_change(edits, result):
    card_on_hub = pushed(*edits)
    assert section(card_on_hub) == result
    assert pushed(lambda _: card_on_hub, edits[-1]) == card_on_hub  # a repeated push changes nothing


def test_a_section_changed_on_both_sides_is_refused():
    with pytest.raises(ValueError, match="section 'about' was changed here and on the Hub. Make both equal"):
        pushed(card(OLD), writes(WORDS), card(MINE))


@pytest.mark.parametrize(
    ("edits", "result"),
    [
        ((card(), sets("license", "mit"), card(), card()), {"license": "mit"}),
        ((card(), card(license="mit"), card()), {}),  # a value that this package pushed is not an edit of the user
        ((card(), card(license="other")), {"license": "other"}),
        ((card(), sets("pretty_name", "Birds"), card()), {"pretty_name": "Birds"}),
        ((card(), sets("language", ["no"]), card()), {"language": ["no"]}),
        ((card(), lambda text: text.replace("---\n", "---\nlanguage: no\n", 1), card()), {"language": "no"}),
        ((card(), lambda text: "\ufeff" + text, card()), {}),
        ((card(), sets("tags", ["synthetic", "birds"]), card()), {"tags": ["synthetic", "birds"]}),
        ((card(tags=["synthetic", "image"]), sets("tags", ["synthetic"]), card(tags=["synthetic", "image"])), {}),
        (
            (lambda _: card(tags=["birds"]), card()),
            {"tags": ["synthetic", "birds"]},
        ),  # the card on the Hub was not pushed by this package
        ((card(), sets("configs", ["c"]), card(configs=["b"])), {"configs": ["b"]}),
        ((card(pretty_name="Birds"), sets("pretty_name", None), card(pretty_name="Birds")), {}),
    ],
)
def test_metadata_changed_on_the_hub_are_kept(edits, result):
    card_on_hub = pushed(*edits)
    assert header(card_on_hub) == {"license": "unknown", "tags": ["synthetic"], "configs": ["a"]} | result
    assert pushed(lambda _: card_on_hub, edits[-1]) == card_on_hub


def test_metadata_changed_on_both_sides_and_invalid_metadata_are_refused():
    with pytest.raises(ValueError, match="license was changed here and on the Hub"):
        pushed(card(), sets("license", "apache-2.0"), card(license="mit"))
    for broken in ("---\na: [\n---\n", "---\n1: a\n---\n", "---\n- a\n---\n"):
        with pytest.raises(ValueError, match="are not valid YAML of the form `key: value`. Correct them"):
            with_edits(card(), broken)


def test_dates_in_metadata_are_compared_and_an_invalid_record_is_ignored():
    assert header(pushed(card(date="2024-01-01"), card(date="2024-01-01")))["date"] == "2024-01-01"
    dated = card().replace("license: unknown\n", "license: unknown\ndate: 2024-01-01\n")
    assert pushed(dated, dated, dated).count("2024-01-01") == 2  # once in the metadata, once in the record
    assert "Yours" in with_edits(card(), card() + '\n<!-- from here: {"sections": [], "metadata": 3} -->\n')


def test_the_first_card_is_unchanged_except_for_an_added_record():
    text = with_edits(card(), None)
    assert text.startswith(card().rstrip()) and text.count("<!-- from here: ") == 1
    assert with_edits(text, None) == text  # a card that was downloaded from the Hub


@pytest.mark.parametrize("hub_text", ["---\nlicense: mit\n---\n# Mine\r\n\r\nWords.\r\n", "# Mine\n\nWords.\n"])
@pytest.mark.parametrize("before", [(), (card(), card(license="mit"))])
def test_the_text_of_a_card_from_another_tool_becomes_a_section(hub_text, before):
    merged = pushed(*before, lambda _: hub_text, card())
    assert "<!-- free:start earlier -->\n# Mine\n\nWords.\n<!-- free:end -->" in merged
    assert header(merged)["license"] == ("mit" if "mit" in hub_text else "unknown")
    assert "Words." in pushed(lambda _: merged, card())
    assert with_edits(card(), "---\nlicense: mit\n---\n").count("free:start") == 1
