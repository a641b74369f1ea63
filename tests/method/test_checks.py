"""Tests of the checks: their order, the checks that an accept overrides, and an added check."""

from types import SimpleNamespace

import numpy as np
import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.method import checks
from diffcore_hf.method.checks import CHECKS, Candidate, Check, first_reason

MEMORY = Check(
    "memory",
    "the generation needed too much memory",
    "too little memory",
    lambda candidate: candidate.recorded == "crashed" and candidate.detail.startswith("MemoryError"),
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


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.reason)
def test_a_check_of_the_package_uses_only_facts_by_which_the_checker_stores_its_reasons(check):
    facts = SimpleNamespace(recorded=None, accepted=None, duplicate=False, policy_reason=None, close=frozenset())
    assert check.rejects(facts) is False


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, "kept"),
        ({"policy_reason": "low_rank"}, "low_rank"),
        ({"policy_reason": "low_rank", "duplicate": True}, "duplicate"),
        ({"duplicate": True, "accepted": False}, "review"),
        ({"recorded": "unsafe", "accepted": False}, "unsafe"),
        ({"recorded": "crashed", "policy_reason": "low_rank"}, "crashed"),
        # A reviewer's `accept` overrides all checks except final checks, if the attempt has an image.
        ({"recorded": "unsafe", "duplicate": True, "policy_reason": "low_rank", "accepted": True}, "kept"),
        ({"recorded": "invalid", "image_sha256": None, "accepted": True}, "invalid"),
        ({"recorded": "crashed", "accepted": True}, "crashed"),
    ],
)
def test_the_first_check_that_rejects_gives_the_reason(facts, reason):
    assert first_reason(candidate(**facts)) == reason


def test_an_added_check_gives_its_reason_at_its_position():
    crashed = next(index for index, check in enumerate(CHECKS) if check.reason == "crashed")
    with_memory = (*CHECKS[:crashed], MEMORY, *CHECKS[crashed:])
    details = ("MemoryError: too large", "RuntimeError: too large")
    memory, other = (candidate(recorded="crashed", detail=detail) for detail in details)
    assert [first_reason(facts, with_memory) for facts in (memory, other)] == ["memory", "crashed"]
    assert checks.reasons(with_memory)["memory"] == "the generation needed too much memory"
    assert checks.labels(with_memory)["memory"] == "too little memory"


def test_a_recipe_can_add_checks(tmp_path, monkeypatch):
    (tmp_path / "some_checks.py").write_text(
        "from diffcore_hf.method.checks import Check, recorded_reason\n"
        "BLURRY = recorded_reason('blurry', 'the image is blurred', 'blurred')\n"
        "UNSAFE = Check('unsafe', 'unsafe', 'unsafe', lambda candidate: False)\n"
        "EMPTY = Check('', 'empty', 'empty', lambda candidate: False)\n"
        "TABLE = Check('a|b', 'a bar', 'a bar', lambda candidate: False)\n"
        "NUMBER = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert checks.checks_of(()) == CHECKS
    *builtin, blurry = with_blurry = checks.checks_of(["some_checks:BLURRY"])
    assert (tuple(builtin), blurry.reason) == (CHECKS, "blurry")
    assert checks.recorded_reasons(with_blurry) == ["crashed", "unsafe", "invalid", "blurry"]
    assert first_reason(candidate(recorded="blurry"), with_blurry) == "blurry"
    for name, message in (
        ("some_checks:UNSAFE", "whose reason 'unsafe' is already the reason of another check"),
        ("some_checks:EMPTY", "whose reason is ''. Use letters, digits, _ and -"),
        ("some_checks:TABLE", r"whose reason is 'a\|b'. Use letters, digits, _ and -"),
        ("some_checks:NUMBER", r"'NUMBER' in that module is not an instance of diffcore_hf\.method\.checks\.Check"),
        ("some_checks:MISSING", "'MISSING' in that module is missing"),
        ("no_checks:BLURRY", "there is no module 'no_checks'"),
    ):
        with pytest.raises(UserError, match=message):
            checks.checks_of([name])
    with pytest.raises(UserError, match="filter.checks names 'some_checks:BLANK' twice. Name it once"):
        checks.checks_of(["some_checks:BLANK", "some_checks:BLANK"])


def test_a_recorded_reason_without_a_check_is_refused():
    with pytest.raises(ValueError, match=r"recorded reason 'leak'; known: crashed, unsafe, invalid"):
        first_reason(candidate(recorded="leak", accepted=True))
    with pytest.raises(ValueError, match="no check has the recorded reason 'low_rank'"):
        first_reason(candidate(recorded="low_rank"))


def test_every_reason_is_unique_and_explained():
    assert len({check.reason for check in CHECKS}) == len(CHECKS)
    assert list(checks.reasons()) == ["kept", *(check.reason for check in CHECKS)]
    assert all(check.reason and check.meaning and check.label for check in CHECKS)
