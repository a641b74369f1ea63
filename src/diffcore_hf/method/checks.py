"""Checks: the ordered list of reasons for which an attempt is rejected.

Owns the reasons, what each one means, and the order in which they are tested. Does not own the filter policies
(policies/), nor which attempts are examined (filtration.py).

Each check is one entry of `CHECKS`. The first check that rejects an attempt gives its reason; an attempt that passes
all checks is kept. The published list of reasons is derived from the same entries (`reasons`).

To add a check to the package:
    1. write its function, `Candidate -> bool`, here or in a file of its own in this folder;
    2. add one entry to `CHECKS`, at the position where the check should run.
To use a check of your own without a change of the package, define a `Check` in an installed module and name it in the
recipe: `filter: {checks: ["my_package.checks:BLANK"]}`.

A function reads only the facts in `Candidate`. A check that needs pixels needs a fact first: the stage that has the
pixels records it as the attempt's reason, and the check is a `recorded` one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.extensions import load_instance

KEPT = "kept"
SUPERSEDED = "superseded"
CRASHED = "crashed"

OUTCOMES = {
    KEPT: "the counterpart of its unit",
    SUPERSEDED: "an earlier attempt of the unit is kept; in no rate",
}
"""Values of column `reason` that are no rejection, with their meaning."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """All facts about one attempt at the moment when it is checked."""

    row_id: str
    copy: int
    attempt: int
    """0, 1, 2, ..."""
    label: int
    """The class that was asked for, in [0, K)."""
    recorded: str | None
    """The reason that a stage stored with the attempt, without its detail; None: the image is sound."""
    detail: str
    """What the stage stored after the colon, for example `of one colour`; "" for nothing."""
    image_sha256: str | None
    """Hex digest of the encoded image; None: there is no image."""
    embedding: np.ndarray
    """(d,) float16: embedding of the generated image; NaN where there is none."""
    parent: np.ndarray
    """(d,) float16: embedding of the row's real image; NaN where it cannot be read."""
    accepted: bool | None
    """The verdict of a reviewer; None: the attempt was not reviewed."""
    duplicate: bool
    """True: an earlier attempt, in round and plan order, has the same `image_sha256`."""
    policy_reason: str | None
    """The reason for which the filter policy rejects the image; None: it passes."""


@dataclass(frozen=True)
class Check:
    """One reason to reject an attempt."""

    reason: str
    """The value of column `reason` in config `attempts`."""
    meaning: str
    """The definition on the dataset card, one line."""
    label: str
    """A few words for the line below an image on the contact sheet."""
    rejects: Callable[[Candidate], bool]
    """A pure function of the facts: true rejects the attempt."""
    recorded: bool = False
    """True: a stage records this reason with the attempt, as `reason` or `reason: detail`."""
    final: bool = False
    """True: a reviewer cannot override this check. An accept overrides every other one, if there is an image."""


def recorded_reason(reason: str, meaning: str, label: str, *, final: bool = False) -> Check:
    """Returns the check that rejects an attempt whose stage recorded `reason`."""
    return Check(reason, meaning, label, lambda candidate: candidate.recorded == reason, recorded=True, final=final)


def policy_reason(reason: str, meaning: str, label: str) -> Check:
    """Returns the check that rejects an attempt which the filter policy rejects for `reason`."""
    return Check(reason, meaning, label, lambda candidate: candidate.policy_reason == reason)


CHECKS: tuple[Check, ...] = (
    recorded_reason(CRASHED, "the model raised an error; the part holds its text", "the model crashed", final=True),
    recorded_reason("unsafe", "the pipeline's safety checker flagged it", "safety checker"),
    recorded_reason("invalid", "the image has a single colour, or its pixels are not finite", "not an image"),
    Check("review", "rejected by a person", "a person said no", lambda candidate: candidate.accepted is False),
    Check("duplicate", "byte for byte an earlier attempt", "a duplicate", lambda candidate: candidate.duplicate),
    policy_reason("low_similarity", "score not above the bound (policies mean, fixed, quantile)", "not similar enough"),
    policy_reason(
        "low_rank", "its class stands below the rank that real images reach (policy rank)", "looks like another class"
    ),
    policy_reason(
        "below_floor",
        "further from its class than the floor that nearly all real images clear",
        "too far from its class",
    ),
    policy_reason("not_drawn", "not drawn by the control policy random(p)", "not drawn"),
)
"""The checks of every run, in the order in which they are tested."""


def checks_of(names: Sequence[str]) -> tuple[Check, ...]:
    """Returns the checks of a run: the built-in ones, then those that its recipe names.

    The recipe's own checks run last, so they reject images that would be kept and change no other reason. The digest of
    a recipe holds their names: give a check another name when its rule changes.

    Args:
        names: `filter.checks` of the recipe, each `module:NAME`.

    Raises:
        UserError: no such check here, or one whose reason is in use already.
    """
    checks = CHECKS
    for name in names:
        check = load_instance(name, Check, "filter.checks")
        if check.reason in reasons(checks):
            raise UserError(
                f"filter.checks names {name!r}, whose reason {check.reason!r} is that of another check. "
                "Give it a reason of its own"
            )
        checks = (*checks, check)
    return checks


def first_reason(candidate: Candidate, checks: Sequence[Check] = CHECKS) -> str:
    """Returns the reason of the first check that rejects the attempt, or `kept`.

    Args:
        candidate: the facts.
        checks: tested in this order. A reviewer's accept skips all but the final ones, if there is an image.

    Raises:
        ValueError: the stage recorded a reason for which there is no check.
    """
    if candidate.recorded is not None:
        known = [check.reason for check in checks if check.recorded]
        if candidate.recorded not in known:
            raise ValueError(f"the recorded reason {candidate.recorded!r} is none of {', '.join(known)}")
    overridden = candidate.accepted is True and candidate.image_sha256 is not None
    for check in checks:
        if (check.final or not overridden) and check.rejects(candidate):
            return check.reason
    return KEPT


def reasons(checks: Sequence[Check] = CHECKS) -> dict[str, str]:
    """Returns every value of column `reason` with its meaning, in the order of the checks."""
    return {KEPT: OUTCOMES[KEPT], **{check.reason: check.meaning for check in checks}, SUPERSEDED: OUTCOMES[SUPERSEDED]}


def labels(checks: Sequence[Check] = CHECKS) -> dict[str, str]:
    """Returns the label of each reason for the contact sheet."""
    return {check.reason: check.label for check in checks}
