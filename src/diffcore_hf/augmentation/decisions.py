"""Decisions: joins plan, facts and review by key, and calls the method to decide about the attempts.

The review contains the verdicts of a person (`--review FILE`).

Owns the joining. The rules are in method/filtration.py. Decisions are not stored with the facts. They can always be
computed again from the plan, the facts, the recipe and the review.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.augmentation.comparisons import Comparisons
from diffcore_hf.augmentation.crashes import Item, note_on, read_suspects
from diffcore_hf.augmentation.facts import Facts
from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.part_files import REFERENCES, Location
from diffcore_hf.augmentation.reasons import check_recorded_reasons
from diffcore_hf.augmentation.reference_embeddings import captions_of, reference_embeddings
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.schedule import NOTHING, Due, Schedule
from diffcore_hf.core.schema import AttemptKey
from diffcore_hf.method import filtration, policies
from diffcore_hf.method.checker import Checker
from diffcore_hf.method.checks import DUPLICATE, checks_of
from diffcore_hf.method.copies.closeness import Comparison
from diffcore_hf.method.copies.counterparts import PairScore
from diffcore_hf.method.policies import FittedPolicy
from diffcore_hf.method.references import ReferenceEmbeddings

Score = Callable[[tuple[str, Location], tuple[str, Location]], float]
"""Function that returns the score of two images, which are given by their hashes and locations."""


class Decider:
    """Decides about the attempts of a run while their facts are added.

    The policy is fitted once, only to the references. So its result for an attempt does not change when other attempts
    are added.

    Args:
        run: the run.
        references: the facts of round `ref`.
        attempts: the facts of all other rounds; `add` extends them.
    """

    def __init__(self, run: Run, references: Facts, attempts: Facts) -> None:
        self.run, self.references, self.attempts = run, references, attempts
        plan = run.plan
        known = run.ledger.captions()
        self._captions = captions_of(plan.prompt_texts.captions(), known)
        self._contexts = captions_of(plan.prompt_texts.context_captions(), known)
        self.width = references.width() or (1 if self._captions is None else self._captions.shape[1])
        facts = zip(references.keys, references.reasons, strict=True)
        unreadable = {row_id for (row_id, _, _), reason in facts if reason}
        self.units = filtration.Units(
            row_ids=plan.row_ids,
            copies=plan.copies,
            labels=plan.shown,
            readable=np.array([row_id not in unreadable for row_id in plan.row_ids], bool),
        )
        self.comparisons = Comparisons(run)
        """The comparisons of generated images with other images."""
        self.comparisons.read_new()
        self.checks = checks_of(run.recipe.filter.checks)
        check_recorded_reasons(run, attempts, self.checks)
        self._checker = self._new_checker()
        self._unknown_pairs: set[tuple[str, str]] = set()
        """Hashes of the pairs of images that the last decisions needed and that are not compared yet."""
        self._counts: Counter[str] = Counter()
        self._tallied = 0
        self._schedule: Schedule | None = None
        self._has_duplicates = False
        self._left_out = np.zeros(len(plan), np.bool_)
        self.leave_out(read_suspects(run.folder.private).suspended)

    @cached_property
    def embeddings(self) -> ReferenceEmbeddings:
        """The embeddings of the real images to which the policy is fitted."""
        run, captions = self.run, self._captions
        drawn = reference_embeddings(run.source, run.plan, self.references, self.width, captions, self._contexts)
        return replace(drawn, logit_scale=run.ledger.logit_scale())

    @cached_property
    def _parents(self) -> NDArray[np.int64]:
        """(U,) int64: index of the fact about the real image of each unit; -1: there is none."""
        known = self.references.keys
        return np.array([known.get((row_id, 0, 0), -1) for row_id in self.run.plan.row_ids], np.int64)

    @cached_property
    def policy(self) -> FittedPolicy:
        """The policy of the run, fitted to the references."""
        return policies.fit(self.run.recipe.filter.policy, self.embeddings, self.run.recipe.seed)

    @classmethod
    def read(cls, run: Run) -> Decider:
        """Read all facts of a run from its ledger."""
        return cls(run, *read_facts(run))

    @classmethod
    def without_attempts(cls, run: Run) -> Decider:
        """Read only the facts about real images, to which the policy is fitted."""
        return cls(run, _read_references(run), Facts.empty(run.inputs.of_attempt))

    def has_references(self) -> bool:
        """Return whether there is a fact about every drawn reference."""
        ids = self.run.plan.source_ids
        return all((ids[row], 0, 0) in self.references.keys for row in self.run.plan.references.tolist())

    def schedule(self, wanted: int) -> Schedule:
        """Return the schedule of the first `wanted` units. `take_new` adds further facts to it."""
        schedule = Schedule(self.units, wanted, self.run.recipe.max_attempts, len(self.policy.bound))
        schedule.leave_out(np.flatnonzero(self._left_out))
        self._schedule, self._tallied = schedule, 0
        self._counts.clear()
        self._checker = self._new_checker()
        self.take_new()
        return schedule

    def _new_checker(self) -> Checker:
        return Checker(self.units, self.run.review.verdicts, self.checks, self.comparisons.reasons)

    def without_first(self, wanted: int) -> NDArray[np.int64]:
        """Return those of the first `wanted` units whose attempt 0 is due, in plan order. No attempt is tested."""
        due = self.units.possible() & ~self._left_out
        return np.array(
            [
                unit
                for unit, key in enumerate(islice(self.run.plan.keys(), wanted))
                if due[unit] and (*key, 0) not in self.attempts.keys
            ],
            np.int64,
        )

    def leave_out(self, suspended: Collection[Item]) -> None:
        """Exclude suspended units (crashes.py) from further attempts. Items that have facts are not suspended."""
        missing = self._without_facts(suspended)
        rows = {row_id for kind, (row_id, _) in missing if kind == REFERENCES}
        plan = self.run.plan
        units = [plan.unit_of[key] for kind, key in missing if kind != REFERENCES and key in plan.unit_of]
        units += [unit for unit, row_id in enumerate(plan.row_ids) if row_id in rows] if rows else []
        self._left_out[units] = True
        if self._schedule is not None:
            self._schedule.leave_out(np.flatnonzero(self._left_out))

    def is_suspect(self, due: Due, alone: Collection[Item]) -> NDArray[np.bool_]:
        """Return (n,) bool: whether each item that is due has to be computed alone (crashes.py)."""
        wanted = {(_number(kind), self.run.plan.unit_of.get(key)) for kind, key in alone if kind != REFERENCES}
        if not wanted:
            return np.zeros(len(due), np.bool_)
        items = zip(due.rounds.tolist(), due.positions.tolist(), strict=True)
        return np.array([item in wanted for item in items], np.bool_)

    def _without_facts(self, items: Collection[Item]) -> list[Item]:
        """Return the items that have no facts."""
        embedded = {row_id for row_id, _, _ in self.references.keys} if items else set()
        return [
            (kind, key)
            for kind, key in items
            if (key[0] not in embedded if kind == REFERENCES else (*key, _number(kind)) not in self.attempts.keys)
        ]

    def correct(self, schedule: Schedule) -> None:
        """Pass the exact decisions to a schedule. Its own decisions are exact unless images are equal or are compared.

        If images are compared, the counts of `take_new` become exact too.
        """
        if self._has_duplicates or self.comparisons:
            self.take_new()
            attempts, _, decisions = self._decided()
            schedule.correct(decisions, attempts.units, attempts.attempts)
            if self.comparisons:
                self._checker = self._new_checker()
                self._checker.resume(attempts, decisions.counterpart)
                self._counts = Counter(decisions.reason.tolist())

    def refreshed(self) -> Decider:
        """Return this object if it has read all parts about attempts; otherwise return a new one that has all facts."""
        ledger = self.run.ledger
        listed = set(chain.from_iterable(map(ledger.parts, ledger.rounds())))
        return self if listed == self.attempts.paths else Decider.read(self.run)

    def due(self, wanted: int) -> Due:
        """Return the attempts of the first unfinished round of the first `wanted` units, in plan order.

        The result is exact. It takes much longer than `Schedule.due`.
        """
        attempts, _, decisions = self._decided()
        first = self.units.possible() & ~self._left_out & (np.arange(len(self.run.plan)) < wanted)
        units = replace(self.units, readable=first)
        due = filtration.due(units, attempts, decisions, self.run.recipe.max_attempts)
        if due is None:
            return NOTHING
        return Due(np.full(len(due[1]), due[0], np.int64), due[1])

    def take_new(self) -> Counter[str]:
        """Test the facts that were added since the last call.

        The final decisions may differ, because `decide` tests the attempts in plan order. It also ignores later
        attempts of a class that was given up (all its first attempts were rejected, see method/filtration.py).

        Returns:
            The number of attempts so far by reason, for the progress bar and the early stop.
        """
        if self._tallied == len(self.attempts):
            return self._counts
        attempts, _ = self._attempt_facts(self._tallied)
        units, numbers = attempts.units.tolist(), attempts.attempts.tolist()
        keys = [(*self.run.plan.key(unit), number) for unit, number in zip(units, numbers, strict=True)]
        verdicts = self.policy.verdicts(self.units.labels[attempts.units], attempts.embeddings, attempts.parents, keys)
        rows = np.arange(len(keys))
        if self._schedule is not None:
            passed = self._checker.passes_alone(attempts, rows, keys, verdicts.reasons)
            self._schedule.add(attempts.units, attempts.attempts, passed)
        reasons = self._checker.reasons(attempts, rows, keys, verdicts.reasons)
        self._counts.update(reasons[reasons != ""].tolist())
        self._has_duplicates |= DUPLICATE in self._counts
        self._tallied = len(self.attempts)
        return self._counts

    def decide(self) -> Material:
        """Decide about all attempts that have facts so far."""
        self._unknown_pairs.clear()
        attempts, indices, decisions = self._decided(compared=True)
        plan = self.run.plan
        missing = sum((plan.source_ids[row], 0, 0) not in self.references.keys for row in plan.references.tolist())
        return Material(
            run=self.run,
            references=self.references,
            facts=self.attempts,
            attempts=attempts,
            fact_of=indices,
            decisions=decisions,
            policy=self.policy,
            embeddings=self.embeddings,
            missing_references=missing,
            notes=(*self.policy.notes, *self._notes(missing)),
        )

    def not_compared(self) -> list[tuple[AttemptKey, str, Location]]:
        """Return the key, the hash and the location of each image that is not compared yet, in plan order."""
        facts, unit_of, most = self.attempts, self.run.plan.unit_of, self.run.recipe.max_attempts
        missing = [
            (unit_of[key[:2]], key, index)
            for key, index in facts.since(0)
            if key[:2] in unit_of and key[2] < most and not self._is_compared(key, index)
        ]
        found = [(key, facts.sha256[index], facts.locations[index]) for _, key, index in sorted(missing)]
        return [(key, sha256, location) for key, sha256, location in found if sha256 is not None]

    def _is_compared(self, key: AttemptKey, index: int) -> bool:
        """Return whether nothing remains to be compared: the image is compared or missing, or the run compares none."""
        sha256 = self.attempts.sha256[index]
        return not self.comparisons or sha256 is None or self.comparisons.of(key, sha256) is not None

    def decide_with(self, score: Score) -> None:
        """Make the decisions, and call `score` for each pair of images that they need and that is not known.

        Args:
            score: returns the score of two images, which are given by their hashes and locations.
        """
        self._decided(compared=True, score=score)

    def _pair_score(self, attempts: filtration.AttemptFacts, indices: np.ndarray, score: Score | None) -> PairScore:
        """Return the function that returns the score of two attempts; see `decide_with`."""

        def pair_score(tested: int, other: int) -> float | None:
            first, second = attempts.image_sha256[tested], attempts.image_sha256[other]
            assert first is not None and second is not None
            known = self.comparisons.pair(first, second)
            if known is None and score is None:
                self._unknown_pairs.add((first, second))
            if known is not None or score is None:
                return known
            locations = self.attempts.locations
            return score((first, locations[int(indices[tested])]), (second, locations[int(indices[other])]))

        return pair_score

    def _decided(
        self, *, compared: bool = False, score: Score | None = None
    ) -> tuple[filtration.AttemptFacts, np.ndarray, filtration.Decisions]:
        """Return the attempts that are decided, their indices in the facts, and the decisions about them.

        Args:
            compared: leave out images that are not compared yet. Otherwise they can be counterparts.
            score: see `decide_with`.
        """
        attempts, indices = self._attempt_facts(compared=compared)
        decisions = self._decide(attempts, self._pair_score(attempts, indices, score))
        if not decisions.decided.all():
            attempts, indices = attempts.selected(decisions.decided), indices[decisions.decided]
            decisions = self._decide(attempts, self._pair_score(attempts, indices, score))
        return attempts, indices, decisions

    def _notes(self, missing: int) -> list[str]:
        notes = []
        if missing:
            notes.append(
                f"{missing} of {len(self.run.plan.references)} references are not read yet, so decisions may change"
            )
        if waiting := len(self.not_compared()) if self.comparisons else 0:
            notes.append(f"{waiting} images are not compared with other images yet, so their rows are pending")
        if self._unknown_pairs:
            notes.append(
                f"{len(self._unknown_pairs)} pairs of generated images are not compared yet, so copies may be kept. "
                "Run augment again"
            )
        suspended = self._without_facts(read_suspects(self.run.folder.private).suspended)
        if note := note_on(suspended):
            notes.append(note)
        verdicts = self.run.review.verdicts
        known = {(row_id, copy) for row_id, copy, _ in self.attempts.keys} if verdicts else set()
        if unmatched := sum((row_id, copy) not in known for row_id, copy, _ in verdicts):
            notes.append(
                f"{unmatched} of {len(verdicts)} verdicts of the review match no attempt. Correct their row_id and copy"
            )
        return notes

    def _decide(self, attempts: filtration.AttemptFacts, pair_score: PairScore) -> filtration.Decisions:
        return filtration.decide(
            self.units,
            attempts,
            self.policy,
            max_attempts=self.run.recipe.max_attempts,
            review=self.run.review.verdicts,
            checks=self.checks,
            compare=self.comparisons.reasons,
            pair_score=pair_score,
        )

    def _attempt_facts(self, since: int = 0, *, compared: bool = False) -> tuple[filtration.AttemptFacts, np.ndarray]:
        """Return the facts about attempts 0 .. max_attempts - 1 of planned units, and their indices.

        Args:
            since: index of the first fact to return.
            compared: leave out images that are not compared yet.
        """
        facts, unit_of = self.attempts, self.run.plan.unit_of
        keys = [key for key, _ in facts.since(since)]
        units = np.array([unit_of.get(key[:2], -1) for key in keys], np.int64)
        numbers = np.array([number for _, _, number in keys], np.int64)
        indices = np.arange(since, since + len(keys))
        selected = (units >= 0) & (numbers < self.run.recipe.max_attempts)
        if compared and self.comparisons:
            indexed = zip(keys, indices.tolist(), strict=True)
            selected &= np.array([self._is_compared(key, index) for key, index in indexed], np.bool_)
        units, numbers, indices = units[selected], numbers[selected], indices[selected]
        positions, hashes = indices.tolist(), facts.sha256[since:]
        attempts = filtration.AttemptFacts(
            units=units,
            attempts=numbers,
            embeddings=facts.matrix(indices, self.width),
            parents=self.references.matrix(self._parents[units], self.width),
            reasons=[facts.reasons[index] for index in positions],
            image_sha256=[hashes[index - since] for index in positions],
            comparisons=self._comparisons(units, numbers, indices),
        )
        return attempts, indices

    def _comparisons(self, units: Any, numbers: Any, indices: Any) -> list[Comparison | None] | None:
        """Return the comparison of each attempt; None if images are not compared."""
        if not self.comparisons:
            return None
        return [
            self.comparisons.of((*self.run.plan.key(unit), number), self.attempts.sha256[index])
            for unit, number, index in zip(units.tolist(), numbers.tolist(), indices.tolist(), strict=True)
        ]


def _number(kind: str) -> int:
    """Return the number of the round of a kind of parts, such as 1 for `r1`."""
    return int(kind.removeprefix("r"))


def read_facts(run: Run) -> tuple[Facts, Facts]:
    """Return the facts of a run about real images and about attempts.

    Only facts that were computed from the inputs of the current plan are returned.
    """
    return _read_references(run), _read_attempts(run)


def _read_references(run: Run) -> Facts:
    return Facts.read(run.ledger, [REFERENCES], run.inputs.of_reference)


def _read_attempts(run: Run) -> Facts:
    return Facts.read(run.ledger, run.ledger.rounds(), run.inputs.of_attempt)
