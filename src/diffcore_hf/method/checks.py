"""Checks: the ordered list of reasons for which an attempt is rejected.

Owns the reasons, their meanings, and the order in which the checks run. Does not own the filter policies (policies/) or
the choice of the attempts that are checked (filtration.py).

Each check is one entry of `CHECKS`. The first check that rejects an attempt gives its reason; an attempt that passes
all checks is kept. The published list of reasons is derived from the same entries (`reasons`).

To add a check to the package:
    1. write its function, `Candidate -> bool`, here or in a file of its own in this folder. If it uses the key, the
       label, the detail, the hash or an embedding, add the value to the facts in `Checker._reason` (checker.py);
    2. add one entry to `CHECKS`, at the position where the check should run.
To use a check of your own without changing this package, define a `Check` in an installed module. Name it in the
recipe: `filter: {checks: ["my_package.checks:BLANK"]}`.

The function of a check uses only the facts in `Candidate`. If a check needs pixels, the stage that has the pixels
records a reason with the attempt, and the check tests for that reason (`recorded_reason`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.extensions import load_instance
from diffcore_hf.method.copies.closeness import COPY, LEAK, MEMORISED

KEPT = "kept"
CRASHED = "crashed"
DUPLICATE = "duplicate"

REASON = re.compile(r"[A-Za-z0-9_-]+")
"""Pattern of a reason, which is a value of the column `reason` and a word in tables of the card."""

OUTCOMES = {KEPT: "the image is the published counterpart"}
"""The value of column `reason` that does not mean a rejection, with its meaning."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The facts about one attempt that a check can use."""

    row_id: str
    copy: int
    attempt: int
    """0, 1, 2, ..."""
    label: int
    """Index of the class that the image has to show, in [0, K)."""
    recorded: str | None
    """Reason that a stage stored with the attempt, without its detail. None: the stage found no fault."""
    detail: str
    """Text that the stage stored after the reason, such as the error of a crashed attempt; "" if there is none."""
    image_sha256: str | None
    """Hex digest of the encoded image; None: there is no image."""
    embedding: np.ndarray
    """(d,) float16: embedding of the generated image; NaN if there is none."""
    parent: np.ndarray
    """(d,) float16: embedding of the row's real image; NaN if that image cannot be read."""
    accepted: bool | None
    """The verdict of a reviewer; None: the attempt was not reviewed."""
    duplicate: bool
    """True: an earlier attempt (by round, then in plan order) has the same `image_sha256`."""
    policy_reason: str | None
    """Reason for which the filter policy rejects the image; None: the image passes."""
    close: frozenset[str] = frozenset()
    """Those of the reasons leak, memorised and copy that apply to the image, from comparisons (method/copies)."""


@dataclass(frozen=True)
class Check:
    """One reason to reject an attempt."""

    reason: str
    """Value of the column `reason` in the dataset configuration `attempts`."""
    meaning: str
    """Definition for the dataset card, one line."""
    label: str
    """Short text below an image on the contact sheet."""
    rejects: Callable[[Candidate], bool]
    """Pure function of the facts; it returns true to reject the attempt."""
    by_policy: bool = False
    """True: the filter policy gives this reason."""
    recorded: bool = False
    """True: a stage records this reason with the attempt, as `reason` or `reason: detail`."""
    final: bool = False
    """True: a reviewer cannot override this check. Checks that are not final are skipped for an image that a reviewer
    accepted."""


def recorded_reason(reason: str, meaning: str, label: str, *, final: bool = False) -> Check:
    """Returns the check that rejects an attempt whose stage recorded `reason`."""
    return Check(reason, meaning, label, lambda candidate: candidate.recorded == reason, recorded=True, final=final)


def policy_reason(reason: str, meaning: str, label: str) -> Check:
    """Returns the check that rejects an attempt if the filter policy rejects it for `reason`."""
    return Check(reason, meaning, label, lambda candidate: candidate.policy_reason == reason, by_policy=True)


def close_reason(reason: str, meaning: str, label: str) -> Check:
    """Returns the check that rejects an attempt if its image is too close to another image."""
    return Check(reason, meaning, label, lambda candidate: reason in candidate.close)


CHECKS: tuple[Check, ...] = (
    recorded_reason(CRASHED, "the model raised an error or ended its process", "the model crashed", final=True),
    recorded_reason("unsafe", "the safety checker of the pipeline flagged the image", "safety checker"),
    recorded_reason("invalid", "the image has a single colour, or its pixels are not finite", "not an image"),
    Check(
        "review",
        "a reviewer rejected the image",
        "rejected by a reviewer",
        lambda candidate: candidate.accepted is False,
    ),
    Check(
        DUPLICATE,
        "the image file equals the file of an earlier attempt",
        "a duplicate",
        lambda candidate: candidate.duplicate,
    ),
    close_reason(
        LEAK, "the image shows the picture of a row of another split, or of a held-out row", "as in a test image"
    ),
    close_reason(MEMORISED, "the image shows the picture of a real image of the augmented rows", "as in a real image"),
    policy_reason(
        "low_similarity",
        "the score is not above the bound (policies mean, fixed, quantile, text_softmax)",
        "not similar enough",
    ),
    policy_reason(
        "low_rank",
        "the rank of the class of the image is worse than the bound (policy rank)",
        "looks like another class",
    ),
    policy_reason(
        "below_floor",
        "the image is less similar to its class than about 99 % of the real images (policy rank with a floor)",
        "not similar to its class",
    ),
    policy_reason("not_drawn", "the control policy random(p) did not draw the image", "not drawn"),
    close_reason(COPY, "the image shows the picture of an earlier counterpart of its class", "a copy"),
)
"""The checks of every run, in the order in which they are tested."""


def checks_of(names: Sequence[str]) -> tuple[Check, ...]:
    """Returns the checks of a run: the built-in ones, then those that its recipe names.

    The recipe's own checks run last. So they can only reject images that would otherwise be kept, and they change no
    other reason. The recipe digest depends on their names alone, so give a check another name when its rule changes.

    Args:
        names: `filter.checks` of the recipe, each `module:NAME`.

    Raises:
        UserError: a name occurs twice or does not name a `Check`; two checks have the same reason; or a reason contains
            a character other than letters, digits, `_` and `-`.
    """
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UserError(f"filter.checks names {repeated[0]!r} twice. Name it once")
    checks = CHECKS
    for name in names:
        check = load_instance(name, Check, "filter.checks")
        if not REASON.fullmatch(check.reason):
            raise UserError(
                f"filter.checks names {name!r}, whose reason is {check.reason!r}. Use letters, digits, _ and -, "
                "e.g. too_dark"
            )
        if check.reason in reasons(checks):
            raise UserError(
                f"filter.checks names {name!r}, whose reason {check.reason!r} is already the reason of another check. "
                "Give it a different reason"
            )
        checks = (*checks, check)
    return checks


def first_reason(candidate: Candidate, checks: Sequence[Check] = CHECKS) -> str:
    """Returns the reason of the first check that rejects the attempt, or `kept`.

    Args:
        candidate: the facts about the attempt.
        checks: tested in this order. For an image that a reviewer accepted, only the final checks are tested.

    Raises:
        ValueError: the stage recorded a reason that no check has.
    """
    if candidate.recorded is not None:
        known = recorded_reasons(checks)
        if candidate.recorded not in known:
            raise ValueError(f"no check has the recorded reason {candidate.recorded!r}; known: {', '.join(known)}")
    overridden = candidate.accepted is True and candidate.image_sha256 is not None
    for check in checks:
        if (check.final or not overridden) and check.rejects(candidate):
            return check.reason
    return KEPT


def reasons(checks: Sequence[Check] = CHECKS) -> dict[str, str]:
    """Returns every value of column `reason` with its meaning, in the order of the checks."""
    return OUTCOMES | {check.reason: check.meaning for check in checks}


def recorded_reasons(checks: Sequence[Check] = CHECKS) -> list[str]:
    """Returns the reasons that a stage may record with an attempt, in the order of the checks."""
    return [check.reason for check in checks if check.recorded]


def policy_reasons(checks: Sequence[Check] = CHECKS) -> list[str]:
    """Returns the reasons that the filter policy can give, in the order of the checks."""
    return [check.reason for check in checks if check.by_policy]


def labels(checks: Sequence[Check] = CHECKS) -> dict[str, str]:
    """Returns the label of each reason for the contact sheet."""
    return {check.reason: check.label for check in checks}
