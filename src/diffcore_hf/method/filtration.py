"""Filtration: selects the counterpart of each unit, and the attempts that are due next.

Owns the decisions, which are made round by round and in plan order. Also owns the results that follow from them:
given-up classes, statuses, rates, and the attempts that are due. Does not own the reasons to reject (checks.py), their
application (checker.py), the filter policies (policies/) or the storage of facts.

Every function here is pure. The result depends on the plan, the facts, the fitted policy and the review, and not on the
order in which facts were added. A decision about an attempt does not change when the run grows, except for duplicates
and copies. Of two equal images, the later one (by round, then in plan order) is the duplicate. An image is a copy only
of a counterpart that is earlier in this order, so no later attempt changes a counterpart.

Only the attempts that a new run of the same plan would make are decided. Attempt 0 of every unit is one of them.
Attempt r > 0 of a unit is one of them if its class is not given up and attempts 0 to r - 1 were rejected. Other
attempts may exist, because an earlier recipe, review or source needed them. They are ignored: they are not published,
no rate includes them, and an attempt with the same image is not their duplicate. So a continued run and a new run have
the same decisions.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from diffcore_hf.core.schema import AttemptKey
from diffcore_hf.method.arrays import Bools, Floats, Ints, Words
from diffcore_hf.method.checker import IGNORED, AttemptFacts, Checker, Units
from diffcore_hf.method.checks import CHECKS, CRASHED, KEPT, Check
from diffcore_hf.method.copies.counterparts import Copied, PairScore
from diffcore_hf.method.policies import FittedPolicy
from diffcore_hf.method.thresholds import chunks, row_cosines

__all__ = [
    "AttemptFacts",
    "Decisions",
    "Units",
    "decide",
    "due",
    "first_units",
    "given_up_classes",
    "rejected_share",
]

Group = TypeVar("Group", bound=Hashable)

GIVEN_UP_AFTER = 20
"""A class is given up if attempt 0 of each of its first 20 units (copy 0, in plan order) was rejected."""


@dataclass(frozen=True)
class Decisions:
    """The decisions about M attempts, U units and K classes."""

    decided: Bools
    """(M,) bool: true for attempts that a new run of the same plan would make (see the module). Others are ignored."""
    reason: Words
    """(M,) object: a key of checks.reasons(); "" for an attempt that is not decided."""
    similarity: Floats
    """(M,) float64: S(I, G) with the row's real image, in [-1, 1]; NaN if it has no embedding or is not decided."""
    score: Floats
    """(M,) float64: number that the policy compared; NaN if it compared nothing or the attempt is not decided."""
    bound: Floats
    """(M,) float64: bound that the score was compared with; NaN if there is none or the attempt is not decided."""
    class_rank: Ints
    """(M,) int64: rank of the attempt's class, 1 = best; 0 if there is no rank."""
    status: Words
    """(U,) object: kept, exhausted, failed or pending."""
    counterpart: Ints
    """(U,) int64: index of the kept attempt; -1 if there is none."""
    given_up: Bools
    """(K,) bool: true if no further attempt is made for the class."""
    class_bound: Floats
    """(K,) float64: the policy's bound for the class."""
    rejected_generated: Floats
    """(K,) float64 in [0, 1]: share of the class's attempts that were rejected; NaN if `rejected_share` has no value
    for the class."""
    copied: Mapping[int, Copied]
    """Index of an attempt -> its closest earlier counterpart, for attempts that were compared with counterparts."""


def decide(
    units: Units,
    attempts: AttemptFacts,
    policy: FittedPolicy,
    *,
    max_attempts: int,
    review: Mapping[AttemptKey, bool] | None = None,
    checks: Sequence[Check] = CHECKS,
    compare: Collection[str] = (),
    pair_score: PairScore | None = None,
) -> Decisions:
    """Decides about every attempt, round by round in plan order.

    The first check that rejects an attempt gives its reason (checks.py). Within a unit the first attempt that passes
    all checks is kept. The later attempts are not decided.

    Args:
        units: the planned units.
        attempts: the facts; each attempt occurs once.
        policy: the fitted filter policy (policies.fit).
        max_attempts: attempts whose number is this or higher are ignored.
        review: (row id, copy, attempt) -> true for `accept`, false for `reject`.
        checks: the reasons to reject, in the order in which they are tested.
        compare: reasons of method/copies/closeness.py for which attempts are rejected.
        pair_score: returns the score of two attempts, by their indices; None: copies are not looked for.

    Raises:
        ValueError: an attempt occurs twice, or no check has a recorded reason.
    """
    decided = (attempts.units >= 0) & (attempts.attempts >= 0) & (attempts.attempts < max_attempts)
    decided[decided] = units.possible()[attempts.units[decided]]
    rows = np.flatnonzero(decided)
    rows = rows[np.lexsort((attempts.units[rows], attempts.attempts[rows]))]
    unit_of, number = attempts.units[rows], attempts.attempts[rows]
    twice = np.flatnonzero((np.diff(unit_of) == 0) & (np.diff(number) == 0))
    if len(twice):
        u = unit_of[twice[0]]
        raise ValueError(f"attempt {number[twice[0]]} of {units.row_ids[u]} copy {units.copies[u]} occurs twice")
    keys = [(units.row_ids[u], int(units.copies[u]), int(r)) for u, r in zip(unit_of, number, strict=True)]
    verdicts = policy.verdicts(units.labels[unit_of], attempts.embeddings[rows], attempts.parents[rows], keys)
    checker = Checker(units, review or {}, checks, compare, pair_score)
    reasons, counterpart = checker.reasons(attempts, rows, keys, verdicts.reasons), checker.counterpart

    classes = len(policy.bound)
    given_up = _given_up(units, unit_of, number, reasons, classes)
    # A class is given up because of attempts with number 0 alone, so ignoring later attempts does not change it.
    ignored = np.zeros(len(decided), np.bool_)
    ignored[rows] = (reasons == IGNORED) | ((number > 0) & given_up[units.labels[unit_of]])
    if ignored.any():
        others = replace(attempts, units=np.where(ignored, -1, attempts.units))
        return decide(
            units,
            others,
            policy,
            max_attempts=max_attempts,
            review=review,
            checks=checks,
            compare=compare,
            pair_score=pair_score,
        )

    count = len(decided)
    reason = np.full(count, "", np.object_)
    reason[rows] = reasons
    similarity, score, bound = np.full(count, np.nan), np.full(count, np.nan), np.full(count, np.nan)
    for part in chunks(len(rows), attempts.embeddings.shape[1]):
        similarity[rows[part]] = row_cosines(attempts.embeddings[rows[part]], attempts.parents[rows[part]])
    score[rows], bound[rows] = verdicts.score, verdicts.bound
    class_rank = np.zeros(count, np.int64)
    class_rank[rows] = verdicts.class_rank
    rates = rejected_share(reasons, units.labels[unit_of].tolist())
    return Decisions(
        decided=decided,
        reason=reason,
        similarity=similarity,
        score=score,
        bound=bound,
        class_rank=class_rank,
        status=_statuses(units, unit_of, number, reasons, counterpart, given_up, max_attempts),
        counterpart=counterpart,
        given_up=given_up,
        class_bound=policy.bound,
        rejected_generated=np.array([rates.get(label, np.nan) for label in range(classes)]),
        copied=checker.copied,
    )


def due(units: Units, attempts: AttemptFacts, decisions: Decisions, max_attempts: int) -> tuple[int, Ints] | None:
    """Returns the missing attempts of the first unfinished round.

    Round r needs attempt r of every unit that has no counterpart from rounds < r. From round 1 on, the units of
    given-up classes are skipped. Round 0 always includes every unit, so that a run gives up the same classes whether it
    was interrupted or not.

    Args:
        units: the planned units.
        attempts: the facts from which `decisions` were made.
        decisions: the result of `decide` with the same max_attempts.
        max_attempts: the number of rounds.

    Returns:
        (r, (n,) int64 indices of units whose attempt r is missing, in plan order), or None when none is missing.
    """
    present = np.zeros((max_attempts, len(units.labels)), np.bool_)
    rows = np.flatnonzero(decisions.decided)
    present[attempts.attempts[rows], attempts.units[rows]] = True
    kept_in = np.full(len(units.labels), max_attempts)
    kept = np.flatnonzero(decisions.counterpart >= 0)
    kept_in[kept] = attempts.attempts[decisions.counterpart[kept]]
    given_up = decisions.given_up[units.labels]
    for r in range(max_attempts):
        needed = units.possible() & (kept_in >= r) & ((r == 0) | ~given_up)
        missing = np.flatnonzero(needed & ~present[r])
        if len(missing):
            return r, missing
    return None


def rejected_share(reasons: Words, groups: Sequence[Group]) -> dict[Group, float]:
    """Returns the share of decided attempts that were rejected, for each group of attempts.

    A group may be a label, a context or an attempt number.

    Args:
        reasons: (M,) as in Decisions.reason.
        groups: (M,) group of each attempt.

    Returns:
        group -> rejected / decided, in ascending order of the groups. Both numbers exclude attempts that were not
        decided or crashed. A group that has only such attempts is absent.
    """
    counted = ~np.isin(reasons.astype(str), (IGNORED, CRASHED))
    values, index = np.unique(np.asarray(groups)[counted], return_inverse=True)
    rejected = np.bincount(index, weights=reasons[counted] != KEPT, minlength=len(values))
    return dict(zip(values.tolist(), (rejected / np.bincount(index, minlength=len(values))).tolist(), strict=True))


def first_units(units: Units) -> Ints:
    """Returns (n,) int64: the units whose attempt 0 decides whether their class is given up."""
    first = np.flatnonzero((units.copies == 0) & units.possible())
    first = first[np.argsort(units.labels[first], kind="stable")]
    labels = units.labels[first]
    position = np.arange(len(first)) - np.searchsorted(labels, labels)
    return first[position < GIVEN_UP_AFTER]


def given_up_classes(labels: Ints, first: Ints, rejected: Bools, classes: int) -> Bools:
    """Returns (K,) bool: attempt 0 of each of the class's first 20 possible units of copy 0 was rejected.

    Args:
        labels: (U,) int64: class of each unit.
        first: (n,) int64: the result of `first_units`.
        rejected: (U,) bool: whether attempt 0 of each unit was rejected.
        classes: K.
    """
    return np.bincount(labels[first], weights=rejected[first], minlength=classes) == GIVEN_UP_AFTER


def _given_up(units: Units, unit_of: Ints, number: Ints, reasons: Words, classes: int) -> Bools:
    """Returns (K,) bool: whether each class is given up; see `given_up_classes`.

    Args:
        units: the planned units.
        unit_of: (n,) int64: unit of each decided attempt.
        number: (n,) int64: number of each decided attempt.
        reasons: (n,) object: reason of each decided attempt.
        classes: K.
    """
    rejected = np.zeros(len(units.labels), np.bool_)
    rejected[unit_of[(number == 0) & (reasons != KEPT)]] = True
    return given_up_classes(units.labels, first_units(units), rejected, classes)


def _statuses(
    units: Units,
    unit_of: Ints,
    number: Ints,
    reasons: Words,
    counterpart: Ints,
    given_up: Bools,
    max_attempts: int,
) -> Words:
    """Returns (U,) object: the status of each unit.

    `kept`: the unit has a counterpart. `pending`: more attempts may follow. `failed`: no attempt follows, and no
    attempt produced an image. `exhausted`: no attempt follows, and every image was rejected.
    """
    count = len(units.labels)
    attempted = np.bincount(unit_of, minlength=count)
    crashed = np.bincount(unit_of[reasons == CRASHED], minlength=count)
    started = np.zeros(count, np.bool_)
    started[unit_of[number == 0]] = True
    finished = (attempted == max_attempts) | (given_up[units.labels] & started) | ~units.possible()
    status = np.where(finished, "exhausted", "pending").astype(np.object_)
    status[finished & (attempted == crashed)] = "failed"
    status[counterpart >= 0] = "kept"
    return status
