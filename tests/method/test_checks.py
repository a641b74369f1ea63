"""Tests of the checks: their order, the checks that an accept overrides, and an added check."""

import numpy as np
import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.method import checks
from diffcore_hf.method.checks import CHECKS, Candidate, Check, first_reason

BLANK = Check(
    "blank",
    "the image has a single colour",
    "a blank image",
    lambda candidate: candidate.recorded == "invalid" and candidate.detail == "of one colour",
)


def candidate(**facts):
    defaults = {
        "row_id": "train/0",
        "copy": 0,
        "attempt": 0,
        "label": 0,
        "recorded": None,
        "detail": "",
        "image_sha256": "a",
        "embedding": np.ones(2, np.float16),
        "parent": np.ones(2, np.float16),
        "accepted": None,
        "duplicate": False,
        "policy_reason": None,
    }
    return Candidate(**(defaults | facts))


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, "kept"),
        ({"policy_reason": "low_rank"}, "low_rank"),
        ({"policy_reason": "low_rank", "duplicate": True}, "duplicate"),
        ({"duplicate": True, "accepted": False}, "review"),
        ({"recorded": "unsafe", "accepted": False}, "unsafe"),
        ({"recorded": "crashed", "policy_reason": "low_rank"}, "crashed"),
        # An accept overrides all but the final checks, and needs an image.
        ({"recorded": "unsafe", "duplicate": True, "policy_reason": "low_rank", "accepted": True}, "kept"),
        ({"recorded": "invalid", "image_sha256": None, "accepted": True}, "invalid"),
        ({"recorded": "crashed", "accepted": True}, "crashed"),
    ],
)
def test_the_first_check_that_rejects_gives_the_reason(facts, reason):
    assert first_reason(candidate(**facts)) == reason


def test_an_added_check_gives_its_reason_at_its_position():
    invalid = next(index for index, check in enumerate(CHECKS) if check.reason == "invalid")
    with_blank = (*CHECKS[:invalid], BLANK, *CHECKS[invalid:])
    blank, noise = (candidate(recorded="invalid", detail=detail) for detail in ("of one colour", "not finite"))
    assert [first_reason(facts, with_blank) for facts in (blank, noise)] == ["blank", "invalid"]
    assert checks.reasons(with_blank)["blank"] == "the image has a single colour"
    assert checks.labels(with_blank)["blank"] == "a blank image"


def test_a_recipe_names_checks_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "some_checks.py").write_text(
        "from diffcore_hf.method.checks import Check\n"
        "BLANK = Check('blank', 'a single colour', 'blank', lambda candidate: candidate.detail == 'of one colour')\n"
        "UNSAFE = Check('unsafe', 'unsafe', 'unsafe', lambda candidate: False)\n"
        "NUMBER = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert checks.checks_of(()) == CHECKS
    *builtin, blank = checks.checks_of(["some_checks:BLANK"])
    assert (tuple(builtin), blank.reason) == (CHECKS, "blank")
    for name, message in (
        ("some_checks:UNSAFE", "whose reason 'unsafe' is already the reason of another check"),
        ("some_checks:NUMBER", r"'NUMBER' in that module is not an instance of diffcore_hf\.method\.checks\.Check"),
        ("some_checks:MISSING", "'MISSING' in that module is missing"),
        ("no_checks:BLANK", "there is no module 'no_checks'"),
    ):
        with pytest.raises(UserError, match=message):
            checks.checks_of([name])


def test_a_recorded_reason_without_a_check_is_refused():
    with pytest.raises(ValueError, match=r"recorded reason 'leak'; known: crashed, unsafe, invalid"):
        first_reason(candidate(recorded="leak", accepted=True))
    with pytest.raises(ValueError, match="no check has the recorded reason 'low_rank'"):
        first_reason(candidate(recorded="low_rank"))


def test_every_reason_is_unique_and_explained():
    assert len({check.reason for check in CHECKS}) == len(CHECKS)
    first, *_, last = checks.reasons()
    assert (first, last) == ("kept", "superseded")
    assert all(check.reason and check.meaning and check.label for check in CHECKS)
