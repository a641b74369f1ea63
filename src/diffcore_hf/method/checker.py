"""Checker: applies the checks to attempts one after the other.

Owns the facts about the attempts and the checks that depend on earlier attempts: duplicates and copies. Does not own
the reasons (checks.py) or the results that follow from the decisions (filtration.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffcore_hf.core.schema import AttemptKey
from diffcore_hf.method.arrays import Bools, Embeddings, Ints, Words
from diffcore_hf.method.checks import CHECKS, KEPT, Candidate, Check, first_reason
from diffcore_hf.method.copies.closeness import BOUND, COPY, Comparison
from diffcore_hf.method.copies.counterparts import Copied, Counterparts, PairScore

IGNORED = ""
"""Reason of an attempt that is not decided."""
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Units:
    """The planned units in plan order, which is the drawing order of augmentation/plan.py."""

    row_ids: Sequence[str]
    copies: Ints
    """(U,) int64."""
    labels: Ints
    """(U,) int64 in [0, K)."""
    readable: Bools | None = None
    """(U,) bool: false where the row's real image cannot be read, so that no attempt is made. None: all can be read."""

    def possible(self) -> Bools:
        """Returns (U,) bool: the units for which attempts can be made."""
        return np.ones(len(self.labels), np.bool_) if self.readable is None else self.readable


@dataclass(frozen=True)
class AttemptFacts:
    """The facts about M attempts, in any order."""

    units: Ints
    """(M,) int64: index into Units; negative for units that are not in this plan."""
    attempts: Ints
    """(M,) int64: number of the attempt for its unit, 0, 1, 2, ..."""
    embeddings: Embeddings
    """(M, d) float16: embedding of the generated image; NaN if there is no embedding."""
    parents: Embeddings
    """(M, d) float16: embedding of the row's real image; NaN if that image cannot be read."""
    reasons: Sequence[str | None]
    """Reason that a stage recorded, possibly followed by `: detail`. None: the stage found no fault."""
    image_sha256: Sequence[str | None]
    """Hex digest of the encoded image; None: there is no image."""
    comparisons: Sequence[Comparison | None] | None = None
    """Comparison of each image with real images. An item is None if the image was not compared yet. The attribute is
    None if the recipe asks for no comparison."""

    def comparison(self, attempt: int) -> Comparison | None:
        """Returns the comparison of an attempt; None if there is none."""
        return None if self.comparisons is None else self.comparisons[attempt]

    def selected(self, mask: Bools) -> AttemptFacts:
        """Returns the attempts that a mask selects.

        Args:
            mask: (M,) bool.
        """
        indices = np.flatnonzero(mask).tolist()
        return AttemptFacts(
            units=self.units[mask],
            attempts=self.attempts[mask],
            embeddings=self.embeddings[mask],
            parents=self.parents[mask],
            reasons=[self.reasons[index] for index in indices],
            image_sha256=[self.image_sha256[index] for index in indices],
            comparisons=self.comparisons and [self.comparisons[index] for index in indices],
        )


class Checker:
    """Applies the checks to attempts one after the other, because a duplicate depends on the attempts before it.

    Args:
        units: the planned units.
        review: (row id, copy, attempt) -> true for `accept`, false for `reject`.
        checks: the checks, in the order in which they are tested.
        compare: reasons of method/copies/closeness.py that reject.
        pair_score: returns the score of two attempts, by their indices; None: copies are not looked for.
    """

    def __init__(
        self,
        units: Units,
        review: Mapping[AttemptKey, bool],
        checks: Sequence[Check],
        compare: Collection[str] = (),
        pair_score: PairScore | None = None,
    ) -> None:
        self.counterpart: Ints = np.full(len(units.labels), -1, np.int64)
        """(U,) int64: index of the kept attempt of each unit, or -1."""
        self._units, self._review, self._checks = units, review, checks
        self._images: set[str] = set()
        self._compare = frozenset(compare)
        self._kept = None if pair_score is None or COPY not in self._compare else Counterparts(pair_score)
        self.copied: dict[int, Copied] = {}
        """Index of an attempt -> its closest earlier counterpart."""
        self._known: dict[tuple[object, ...], str] | None = {} if all(check in CHECKS for check in checks) else None
        """Facts that the checks of this package read -> the reason. None: the recipe names another check, which can
        also read the key and the embeddings."""

    def reasons(
        self, attempts: AttemptFacts, rows: Ints, keys: Sequence[AttemptKey], policy_reasons: Sequence[str | None]
    ) -> Words:
        """Returns the reasons of further attempts.

        Args:
            attempts: the facts.
            rows: (n,) int64: indices of the attempts to test, in the order in which they are tested.
            keys: (n,) keys of these attempts.
            policy_reasons: (n,) reason for which the policy rejects each attempt; None: it passes.

        Returns:
            (n,) object: reason of each attempt in `rows`; "" for an attempt after the counterpart of its unit.
        """
        reasons: list[str] = []
        tested = zip(rows.tolist(), attempts.units[rows].tolist(), keys, policy_reasons, strict=True)
        for row, unit, key, policy_reason in tested:
            if self.counterpart[unit] >= 0:
                reasons.append(IGNORED)
                continue
            sha256 = attempts.image_sha256[row]
            duplicate = sha256 is not None and sha256 in self._images
            reason = self._reason(attempts, row, key, policy_reason, duplicate=duplicate)
            if reason == KEPT and self._kept is not None and self._is_copy(attempts, row):
                reason = self._reason(attempts, row, key, policy_reason, duplicate=duplicate, copy=True)
            reasons.append(reason)
            if reason == KEPT:
                self.counterpart[unit] = row
                self._keep(attempts, row)
            if sha256 is not None:
                self._images.add(sha256)
        return np.array(reasons, np.object_)

    def resume(self, attempts: AttemptFacts, counterpart: Ints) -> None:
        """Continues after the decisions about earlier attempts.

        Args:
            attempts: the attempts that are decided.
            counterpart: (U,) int64: see the attribute `counterpart`.
        """
        self.counterpart = counterpart.copy()
        self._images.update(sha256 for sha256 in attempts.image_sha256 if sha256 is not None)

    def _is_copy(self, attempts: AttemptFacts, row: int) -> bool:
        """Returns whether the image of an attempt copies an earlier counterpart of its class."""
        comparison = attempts.comparison(row)
        if self._kept is None or comparison is None:
            return False
        copied = self._kept.closest(row, int(self._units.labels[attempts.units[row]]), comparison.hash)
        if copied is None:
            return False
        self.copied[row] = copied
        return copied.score >= BOUND

    def _keep(self, attempts: AttemptFacts, row: int) -> None:
        """Adds a counterpart, which later attempts must not copy."""
        if self._kept is not None and (comparison := attempts.comparison(row)) is not None:
            self._kept.add(row, int(self._units.labels[attempts.units[row]]), comparison.hash)

    def passes_alone(
        self, attempts: AttemptFacts, rows: Ints, keys: Sequence[AttemptKey], policy_reasons: Sequence[str | None]
    ) -> Bools:
        """Returns (n,) bool: whether each attempt passes all checks, if no other attempt exists.

        Args: see `reasons`.
        """
        tested = zip(rows.tolist(), keys, policy_reasons, strict=True)
        passes = [self._reason(attempts, row, key, policy_reason) == KEPT for row, key, policy_reason in tested]
        return np.array(passes, np.bool_)

    def _reason(
        self,
        attempts: AttemptFacts,
        row: int,
        key: AttemptKey,
        policy_reason: str | None,
        *,
        duplicate: bool = False,
        copy: bool = False,
    ) -> str:
        """Returns the reason of one attempt. Many attempts have equal facts, so these are tested once.

        Args:
            attempts: the facts.
            row: index of the attempt.
            key: its key.
            policy_reason: reason for which the policy rejects it; None: it passes.
            duplicate: whether an earlier attempt has the same image.
            copy: whether the image copies an earlier counterpart of its class.
        """
        recorded, sha256 = attempts.reasons[row], attempts.image_sha256[row]
        name, _, detail = recorded.partition(":") if recorded else ("", "", "")
        accepted = self._review.get(key) if self._review else None
        comparison = attempts.comparison(row)
        close: frozenset[str] = _NOTHING if comparison is None else comparison.reasons() & self._compare
        if copy:
            close |= {COPY}
        facts = name, accepted, sha256 is None, duplicate, policy_reason, close
        if self._known is not None and (known := self._known.get(facts)) is not None:
            return known
        candidate = Candidate(
            *key,
            label=int(self._units.labels[attempts.units[row]]),
            recorded=name or None,
            detail=detail.strip(),
            image_sha256=sha256,
            embedding=attempts.embeddings[row],
            parent=attempts.parents[row],
            accepted=accepted,
            duplicate=duplicate,
            policy_reason=policy_reason,
            close=close,
        )
        reason = first_reason(candidate, self._checks)
        if self._known is not None:
            self._known[facts] = reason
        return reason
