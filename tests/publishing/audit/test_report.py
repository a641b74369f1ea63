"""Tests of the result of a verification."""

from __future__ import annotations

import pytest

from diffcore_hf.publishing.audit.report import what_is_correct

PLAIN = "every file, hash, count and score is correct"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"signer": None, "rescore": None, "regenerate": None}, PLAIN),
        ({"signer": "team.txt"}, f"{PLAIN}; a signer listed in team.txt signed it"),
        ({"rescore": 3}, f"{PLAIN}; 3 attempts, or all if there are fewer, were embedded again"),
        ({"regenerate": 2}, f"{PLAIN}; 2 attempts, or all if there are fewer, were generated again"),
    ],
)
def test_the_result_names_the_checks_that_were_asked_for(options, text):
    assert what_is_correct(options) == text
