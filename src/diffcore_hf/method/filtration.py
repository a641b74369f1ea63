"""Filtration: which attempt becomes the counterpart of which unit, and what is to be made next.

Owns the walk over attempts in plan order and round by round: facts, a person's word, duplicates, the policy's verdict,
hopeless classes, statuses, rates, and what is due. Does not own the policies (policies.py), where facts are stored, or
who makes attempts.

Everything here is a pure function of the plan, the facts, the fitted policy and the review; the order in which facts
were found does not matter. A decision about an attempt does not change when the run grows, duplicates excepted: of
equal images the earlier one in round and plan order counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffcore_hf.method.checks import CHECKS, CRASHED, KEPT, SUPERSEDED, Candidate, Check, first_reason
from diffcore_hf.method.policies import FittedPolicy, Key
from diffcore_hf.method.thresholds import chunks, row_cosines

GIVEN_UP_AFTER = 20
"""Units of a class (copy 0, drawing order) whose attempt 0 must all fail before the class is given up."""


@dataclass(frozen=True)
class Units:
    """The planned units, in plan (drawing) order."""

    row_ids: Sequence[str]
    copies: np.ndarray
    """(U,) int."""
    labels: np.ndarray
    """(U,) int64 in [0, K)."""
    readable: np.ndarray | None = None
    """(U,) bool: false where the row's real image cannot be read, so no attempt is ever made. None: all can."""

    def possible(self) -> np.ndarray:
        """(U,) bool: units that attempts can be made for."""
        return np.ones(len(self.labels), bool) if self.readable is None else self.readable


@dataclass(frozen=True)
class AttemptFacts:
    """The facts about attempts, in any order."""

    units: np.ndarray
    """(M,) int64 index into Units; negative for units that are not in the present plan."""
    attempts: np.ndarray
    """(M,) int: 0, 1, 2, ..."""
    embeddings: np.ndarray
    """(M, d) float16; NaN where a reason left none."""
    parents: np.ndarray
    """(M, d) float16: embedding of the row's real image; NaN where unreadable."""
    reasons: Sequence[str | None]
    """`unsafe`, `invalid`, `crashed`, each possibly followed by `: detail`, or None."""
    image_sha256: Sequence[str | None]
    """None where there is no image."""


@dataclass(frozen=True)
class Decisions:
    """What follows from the facts."""

    judged: np.ndarray
    """(M,) bool: attempts 0 .. max_attempts - 1 of units in the plan; the others stay unseen."""
    reason: np.ndarray
    """(M,) object: a key of checks.reasons(); "" where not judged."""
    similarity: np.ndarray
    """(M,) float64: S(I, G) with the row's own image, in [-1, 1]; NaN without embedding or where not judged."""
    score: np.ndarray
    """(M,) float64: what the policy compared; NaN likewise."""
    bound: np.ndarray
    """(M,) float64: with what."""
    class_rank: np.ndarray
    """(M,) int64: 1 = best; 0 where there is none."""
    status: np.ndarray
    """(U,) object: kept, exhausted, failed or pending."""
    counterpart: np.ndarray
    """(U,) int64: index of the kept attempt; -1 for none."""
    given_up: np.ndarray
    """(K,) bool."""
    class_bound: np.ndarray
    """(K,) float64: the policy's bound."""
    rejected_generated: np.ndarray
    """(K,) float64: share of the class's attempts that were rejected; NaN with none to count."""


def decide(
    units: Units,
    attempts: AttemptFacts,
    judge: FittedPolicy,
    *,
    max_attempts: int,
    review: Mapping[Key, bool] | None = None,
    checks: Sequence[Check] = CHECKS,
) -> Decisions:
    """Walks the attempts round by round in plan order and decides each.

    The first check that rejects an attempt gives its reason (checks.py). Within a unit the first attempt that passes
    all checks is kept. Later ones are superseded, as if they did not exist: no rate counts them, and an attempt with
    the same image is no duplicate of theirs.

    Args:
        units: the plan.
        attempts: the facts; an attempt may occur once.
        judge: the fitted policy (policies.fit).
        max_attempts: attempts with this number or a higher one are not judged.
        review: (row id, copy, attempt) -> accept.
        checks: the reasons to reject, in the order in which they are tested.

    Raises:
        ValueError: an attempt that occurs twice; a recorded reason for which there is no check.
    """
    m = len(attempts.units)
    judged = (attempts.units >= 0) & (attempts.attempts >= 0) & (attempts.attempts < max_attempts)
    rows = np.flatnonzero(judged)
    rows = rows[np.lexsort((attempts.units[rows], attempts.attempts[rows]))]
    unit_of, number = attempts.units[rows], attempts.attempts[rows]
    twice = np.flatnonzero((np.diff(unit_of) == 0) & (np.diff(number) == 0))
    if len(twice):
        u = unit_of[twice[0]]
        raise ValueError(f"attempt {number[twice[0]]} of {units.row_ids[u]} copy {units.copies[u]} occurs twice")
    keys = [(units.row_ids[u], int(units.copies[u]), int(r)) for u, r in zip(unit_of, number, strict=True)]
    verdicts = judge.verdicts(units.labels[unit_of], attempts.embeddings[rows], attempts.parents[rows], keys)
    reason = np.full(m, "", object)
    reason[rows], counterpart = _walk(units, attempts, rows, keys, verdicts.reasons, review or {}, checks)

    similarity, score, bound = (np.full(m, np.nan) for _ in range(3))
    for part in chunks(len(rows), attempts.embeddings.shape[1]):
        similarity[rows[part]] = row_cosines(attempts.embeddings[rows[part]], attempts.parents[rows[part]])
    score[rows], bound[rows] = verdicts.score, verdicts.bound
    class_rank = np.zeros(m, np.int64)
    class_rank[rows] = verdicts.class_rank

    classes = len(judge.bound)
    given_up = _given_up(units, unit_of, number, reason[rows], classes)
    # A class is given up by its first attempts alone. Later ones, made while the plan was smaller, are left unseen, so
    # that a plan that grew and one that was large from the start come to the same.
    late = judged & (attempts.attempts > 0) & given_up[units.labels[np.maximum(attempts.units, 0)]] if m else judged
    if late.any():
        seen = replace(attempts, units=np.where(late, -1, attempts.units))
        return decide(units, seen, judge, max_attempts=max_attempts, review=review, checks=checks)
    labels = np.full(m, -1)
    labels[rows] = units.labels[unit_of]
    rates = rejected_share(reason, labels)
    return Decisions(
        judged=judged, reason=reason, similarity=similarity, score=score, bound=bound, class_rank=class_rank,
        status=_statuses(units, unit_of, number, reason[rows], counterpart, given_up, max_attempts),
        counterpart=counterpart, given_up=given_up, class_bound=judge.bound,
        rejected_generated=np.array([rates.get(label, np.nan) for label in range(classes)]),
    )  # fmt: skip


def due(units: Units, attempts: AttemptFacts, decisions: Decisions, max_attempts: int) -> tuple[int, np.ndarray] | None:
    """What is missing of the first unfinished round.

    Round r wants attempt r of every unit that the decisions of rounds < r left without a counterpart and, from round 1
    on, whose class is not given up. Round 0 is always made for every unit, so that an interrupted run and an
    uninterrupted one agree on which classes are hopeless.

    Args:
        units: the plan.
        attempts: the facts that `decisions` was made from.
        decisions: from decide, with the same max_attempts.
        max_attempts: rounds there are.

    Returns:
        (r, (n,) int64 indices of units whose attempt r is missing, in plan order), or None when nothing is.
    """
    present = np.zeros((max_attempts, len(units.labels)), bool)
    rows = np.flatnonzero(decisions.judged)
    present[attempts.attempts[rows], attempts.units[rows]] = True
    found = np.full(len(units.labels), max_attempts)
    kept = np.flatnonzero(decisions.counterpart >= 0)
    found[kept] = attempts.attempts[decisions.counterpart[kept]]
    hopeless = decisions.given_up[units.labels]
    for r in range(max_attempts):
        wanted = units.possible() & (found >= r) & ((r == 0) | ~hopeless)
        missing = np.flatnonzero(wanted & ~present[r])
        if len(missing):
            return r, missing
    return None


def rejected_share(reason: np.ndarray, groups: np.ndarray | Sequence) -> dict:
    """Share of judged attempts that were rejected, by any grouping: label, context, attempt number.

    Args:
        reason: (M,) words as in Decisions.reason.
        groups: (M,) values of one type.

    Returns:
        group -> rejected / judged. Attempts that were not judged, were superseded or crashed count in neither;
        a group without any other is absent.
    """
    counted = ~np.isin(reason.astype(str), ("", SUPERSEDED, CRASHED))
    values, index = np.unique(np.asarray(groups)[counted], return_inverse=True)
    rejected = np.bincount(index, weights=reason[counted] != KEPT, minlength=len(values))
    return dict(zip(values.tolist(), (rejected / np.bincount(index, minlength=len(values))).tolist(), strict=True))


def _walk(
    units: Units,
    attempts: AttemptFacts,
    rows: np.ndarray,
    keys: list[Key],
    policy_reasons: list[str | None],
    review: Mapping[Key, bool],
    checks: Sequence[Check],
) -> tuple[list[str], np.ndarray]:
    """Reasons in the order of `rows` (round, then plan order), and (U,) the index of each unit's counterpart or -1."""
    reasons: list[str] = []
    images: set[str] = set()
    counterpart = np.full(len(units.labels), -1, np.int64)
    for row, key, policy_reason in zip(rows.tolist(), keys, policy_reasons, strict=True):
        unit, sha256 = attempts.units[row], attempts.image_sha256[row]
        if counterpart[unit] >= 0:
            reasons.append(SUPERSEDED)
            continue
        recorded, _, detail = (attempts.reasons[row] or "").partition(":")
        candidate = Candidate(
            *key,
            label=int(units.labels[unit]),
            recorded=recorded or None,
            detail=detail.strip(),
            image_sha256=sha256,
            embedding=attempts.embeddings[row],
            parent=attempts.parents[row],
            accepted=review.get(key),
            duplicate=sha256 is not None and sha256 in images,
            policy_reason=policy_reason,
        )
        reasons.append(first_reason(candidate, checks))
        if reasons[-1] == KEPT:
            counterpart[unit] = row
        if sha256 is not None:
            images.add(sha256)
    return reasons, counterpart


def _given_up(units: Units, unit_of: np.ndarray, number: np.ndarray, reason: np.ndarray, classes: int) -> np.ndarray:
    """(K,) bool: attempt 0 of each of the class's first 20 possible units of copy 0 is there and none was kept."""
    hopeless = np.zeros(len(units.labels), bool)
    hopeless[unit_of[(number == 0) & (reason != KEPT)]] = True
    first = np.flatnonzero((units.copies == 0) & units.possible())
    first = first[np.argsort(units.labels[first], kind="stable")]
    labels = units.labels[first]
    place = np.arange(len(first)) - np.searchsorted(labels, labels)
    first, labels = first[place < GIVEN_UP_AFTER], labels[place < GIVEN_UP_AFTER]
    return np.bincount(labels, weights=hopeless[first], minlength=classes) == GIVEN_UP_AFTER


def _statuses(
    units: Units,
    unit_of: np.ndarray,
    number: np.ndarray,
    reason: np.ndarray,
    counterpart: np.ndarray,
    given_up: np.ndarray,
    max_attempts: int,
) -> np.ndarray:
    """(U,) object: kept, failed (no image and none to come), exhausted (images, none kept, none to come), pending."""
    count = len(units.labels)
    made = np.bincount(unit_of, minlength=count)
    crashed = np.bincount(unit_of[reason == CRASHED], minlength=count)
    begun = np.zeros(count, bool)
    begun[unit_of[number == 0]] = True
    over = (made == max_attempts) | (given_up[units.labels] & begun) | ~units.possible()
    status = np.where(over, "exhausted", "pending").astype(object)
    status[over & (made == crashed)] = "failed"
    status[counterpart >= 0] = "kept"
    return status
