"""Tests of licences: which names show a restriction, and which licences a user has to accept."""

from __future__ import annotations

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.licences import licence_of_card, require_accepted, restriction


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": ["mit", "cc0-1.0"]}, "mit, cc0-1.0"),
        ({"license": "other", "license_name": "flux-1-nc"}, "other (flux-1-nc)"),
        ({"license": "other"}, "other"),
        ({"license": []}, None),
        ({"license": None, "license_name": None}, None),
        ({}, None),
    ],
)
def test_the_licence_of_a_card_is_read(metadata, licence):
    assert licence_of_card(metadata) == licence


@pytest.mark.parametrize(
    ("licence", "parts"),
    [
        ("mit", []),
        ("apache-2.0", []),
        ("cc-by-4.0", []),
        ("cc0-1.0", []),
        ("bsd-3-clause-clear", []),
        ("other", []),
        (None, []),
        ("cc-by-nc-4.0", ["commercial"]),
        ("fair-noncommercial-research-license", ["commercial"]),
        ("other (flux-1-dev-non-commercial-license)", ["commercial"]),
        ("other (stabilityai-nc-research-community)", ["commercial"]),
        ("apple-amlr", ["commercial"]),
        ("cc-by-nc-sa-4.0", ["commercial", "derived"]),
        ("CC-BY-NC-ND-4.0", ["commercial", "derived"]),
        ("cc-by-sa-3.0", ["derived"]),
        ("creativeml-openrail-m", ["derived"]),
        ("openrail++", ["derived"]),
        ("bigscience-bloom-rail-1.0", ["derived"]),
        ("gpl-3.0", ["derived"]),
        ("agpl-3.0", ["derived"]),
        ("odbl", ["derived"]),
        ("llama3.2", ["derived"]),
        ("mit, cc-by-nc-4.0", ["commercial"]),
    ],
)
def test_the_name_of_a_licence_shows_its_restriction(licence, parts):
    text = restriction(licence)
    assert [part for part in ("commercial", "derived") if part in text] == parts
    assert bool(text) == bool(parts)


def test_a_restricting_licence_has_to_be_accepted_and_the_remedy_works():
    licences = {
        "the source a": "cc-by-nc-4.0",
        "the model b": "OpenRAIL++",
        "the adapter c": None,
        "the model d": "mit",
    }
    for accepted in (None, "mit", "cc-by-nc-4.0"):
        with pytest.raises(UserError, match="which .*Read it, and accept it with") as error:
            require_accepted(licences, accepted)
        remedy = str(error.value).partition('--accept_license "')[2].removesuffix('"')
        require_accepted(licences, remedy)
    require_accepted({"the model": "mit"}, None)
