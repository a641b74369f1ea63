"""Edits of a card: what was changed on the Hub stays, what was changed here arrives, nobody is overruled."""

import pytest
import yaml

from diffcore_hf.publishing.card_edits import with_edits

BLANK = "<!-- Yours. -->\n"


def card(about=BLANK, **metadata):
    header = yaml.safe_dump({"license": "unknown", "tags": ["synthetic"], "configs": ["a"]} | metadata, sort_keys=False)
    return f"---\n{header}---\n\n# Birds\n\n<!-- free:start about -->\n{about}<!-- free:end -->\n\nCounts.\n"


def said(text):
    return text.partition("<!-- free:start about -->\n")[2].partition("<!-- free:end -->")[0]


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


WORDS, MINE = "From the web.\n", "From here.\n"


@pytest.mark.parametrize(
    ("here", "there", "earlier", "comes"),
    [
        (BLANK, WORDS, [], WORDS),
        (BLANK, WORDS, [BLANK], WORDS),
        (BLANK, WORDS, [BLANK, WORDS], WORDS),  # still there two versions later
        ("<!-- Another placeholder. -->\n", WORDS, [BLANK, WORDS], WORDS),
        (MINE, BLANK, [BLANK], MINE),
        (MINE, WORDS, [BLANK, WORDS], MINE),
        (MINE, WORDS, [MINE], WORDS),
        (MINE, WORDS, [MINE, WORDS], WORDS),
        (WORDS, WORDS, [MINE], WORDS),
        (BLANK, BLANK, [WORDS, BLANK], BLANK),
    ],
)
def test_of_a_section_the_hand_that_changed_it_counts(here, there, earlier, comes):
    merged = with_edits(card(here), card(there), [card(text) for text in earlier])
    assert said(merged) == comes
    assert with_edits(card(here), merged, [card(text) for text in earlier]) == merged


@pytest.mark.parametrize("earlier", [[BLANK], [BLANK, "Old.\n"]])
def test_a_section_of_two_hands_is_refused(earlier):
    with pytest.raises(ValueError, match="section 'about' was changed here and on the Hub. Copy one over the other"):
        with_edits(card(MINE), card(WORDS), [card(text) for text in earlier])


@pytest.mark.parametrize(
    ("here", "there", "earlier", "comes"),
    [
        ({}, {"license": "mit"}, [{}], {"license": "mit"}),
        ({}, {"license": "mit"}, [], {"license": "mit"}),
        ({}, {"license": "mit"}, [{}, {"license": "mit"}], {"license": "mit"}),
        ({"license": "other"}, {}, [{}], {"license": "other"}),
        ({}, {"pretty_name": "Birds", "language": ["en"]}, [{}], {"pretty_name": "Birds", "language": ["en"]}),
        ({}, {"tags": ["birds"]}, [{}], {"tags": ["synthetic", "birds"]}),
        ({"configs": ["b"]}, {"configs": ["c"]}, [{}], {"configs": ["b"]}),
        ({}, {"pretty_name": None}, [{"pretty_name": "Birds"}], {}),
    ],
)
def test_metadata_that_were_changed_on_the_hub_stay(here, there, earlier, comes):
    merged = with_edits(card(**here), card(**there), [card(**one) for one in earlier])
    assert header(merged) == {"license": "unknown", "tags": ["synthetic"], "configs": ["a"]} | comes
    assert merged.partition("\n---\n")[2] == card().partition("\n---\n")[2]


def test_metadata_of_two_hands_are_refused_and_without_a_change_every_byte_stays():
    with pytest.raises(ValueError, match="license was changed here and on the Hub"):
        with_edits(card(license="mit"), card(license="apache-2.0"), [card()])
    assert with_edits(card(), card(), [card()]) == with_edits(card(), None) == card()
    with pytest.raises(ValueError, match="are no YAML. Mend them"):
        with_edits(card(), "---\na: [\n---\n", [card()])


@pytest.mark.parametrize("theirs", ["---\nlicense: mit\n---\n# Mine\r\n\r\nWords.\r\n", "# Mine\n\nWords.\n"])
def test_a_card_that_was_there_before_us_becomes_a_section(theirs):
    merged = with_edits(card(), theirs)
    assert "<!-- free:start earlier -->\n# Mine\n\nWords.\n<!-- free:end -->" in merged
    assert header(merged)["license"] == ("mit" if "mit" in theirs else "unknown")
    assert with_edits(card(), "---\nlicense: mit\n---\n").count("free:start") == 1
