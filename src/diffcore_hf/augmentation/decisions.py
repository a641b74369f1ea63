"""Assessment: plan and facts put into the shape in which the method decides about them.

Owns the joining of units, attempts, references and review by key. Does not own the rule (method/filtration.py); holds
no state that could not be recomputed from plan, facts and recipe.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffcore_hf.augmentation.ledger import CLASSES, Facts, Key, Ledger, embedding_rows
from diffcore_hf.augmentation.plan import Plan
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.method import filtration, policies
from diffcore_hf.method.checks import checks_of
from diffcore_hf.method.references import ReferenceEmbeddings

Review = Mapping[Key, bool]


def read_review(path: str | None) -> Review:
    """A person's verdicts: a CSV with the columns row_id, copy, attempt, verdict (accept or reject), note.

    Raises:
        UserError: no such file, a missing column, a verdict that is neither word, a number that is none.
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise UserError(f"review is {path}, which is no file. Use --review FILE.csv, or leave it out")
    verdicts = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"row_id", "copy", "attempt", "verdict"} - set(reader.fieldnames or ())
        if missing:
            raise UserError(
                f"review {path} has no column {', '.join(sorted(missing))}; it needs row_id,copy,attempt,verdict,note"
            )
        for line, row in enumerate(reader, start=2):
            word = (row["verdict"] or "").strip().lower()
            try:
                key = (row["row_id"].strip(), int(row["copy"]), int(row["attempt"]))
            except (TypeError, ValueError, AttributeError):
                raise UserError(
                    f"review {path}, line {line}: copy and attempt must be whole numbers, not "
                    f"{row['copy']!r} and {row['attempt']!r}"
                ) from None
            if word not in ("accept", "reject"):
                raise UserError(f"review {path}, line {line}: verdict is {word!r}. Write accept or reject")
            verdicts[key] = word == "accept"
    return verdicts


@dataclass(frozen=True)
class Assessment:
    """The attempts that count, and what was decided about them."""

    attempts: filtration.AttemptFacts
    """Attempts 0 .. max_attempts - 1 of planned units, in the order of their facts."""
    facts: np.ndarray
    """(M,) int64: place of each attempt in the Facts it was taken from."""
    decisions: filtration.Decisions
    policy: policies.FittedPolicy
    references: ReferenceEmbeddings
    notes: tuple[str, ...]
    """What a person should know about it, a sentence each."""


class Assessor:
    """Decides about facts as they come in; the judge is fitted once, on the references alone."""

    def __init__(
        self, source: LoadedSource, plan: Plan, recipe: Recipe, ledger: Ledger, references: Facts, review: Review
    ) -> None:
        self.plan, self.recipe, self.review = plan, recipe, review
        self.real = references
        known = known_captions(ledger)
        captions, contexts = (
            captions_of(texts, known) for texts in (plan.words.captions(), plan.words.context_captions())
        )
        self.width = references.width() or (1 if captions is None else captions.shape[1])
        unreadable = {row_id for (row_id, _, _), place in references.keys.items() if references.reasons[place]}
        self.units = filtration.Units(
            row_ids=plan.row_ids,
            copies=plan.copies,
            labels=plan.labels,
            readable=np.array([row_id not in unreadable for row_id in plan.row_ids], bool),
        )
        self.references = _references(source, plan, references, self.width, captions, contexts)
        self.checks = checks_of(recipe.filter.checks)
        self.policy = policies.fit(recipe.filter.policy, self.references, recipe.seed)
        self._index = {
            (row_id, copy): unit
            for unit, (row_id, copy) in enumerate(zip(plan.row_ids, plan.copies.tolist(), strict=True))
        }
        self.owed = sum((plan.source_ids[row], 0, 0) not in references.keys for row in plan.references.tolist())
        """Drawn references that were never looked at: with any, decisions are for now only."""
        self._passed = self._counted = self._told = 0

    def attempts(self, facts: Facts, since: int = 0) -> tuple[filtration.AttemptFacts, np.ndarray]:
        """The facts from place `since` on about attempts of planned units below max_attempts, and their places."""
        chosen = [
            (self._index[row_id, copy], attempt, place)
            for (row_id, copy, attempt), place in facts.since(since)
            if (row_id, copy) in self._index and attempt < self.recipe.max_attempts
        ]
        units, numbers, places = np.array(chosen, np.int64).reshape(-1, 3).T
        return (
            filtration.AttemptFacts(
                units=units,
                attempts=numbers,
                embeddings=facts.matrix(places.tolist(), self.width),
                parents=self.real.matrix(
                    [self.real.keys.get((self.plan.row_ids[unit], 0, 0)) for unit in units], self.width
                ),
                reasons=[facts.reasons[place] for place in places],
                image_sha256=[facts.sha256[place] for place in places],
            ),
            places,
        )

    def assess(self, facts: Facts) -> Assessment:
        """Everything that can be decided from the facts that are there."""
        attempts, places = self.attempts(facts)
        decisions = self._decide(attempts)
        if not decisions.judged.all():
            attempts, places = _chosen(attempts, decisions.judged), places[decisions.judged]
            decisions = self._decide(attempts)
        notes = list(self.policy.notes)
        if self.owed:
            notes.append(
                f"{self.owed} of {len(self.plan.references)} references are still to be read: decisions may change"
            )
        known = {(row_id, copy) for row_id, copy, _ in facts.keys} if self.review else set()
        if lost := sum((row_id, copy) not in known for row_id, copy, _ in self.review):
            notes.append(f"{lost} of {len(self.review)} verdicts of the review fit no attempt: check row_id and copy")
        return Assessment(attempts, places, decisions, self.policy, self.references, tuple(notes))

    def _decide(self, attempts: filtration.AttemptFacts) -> filtration.Decisions:
        return filtration.decide(
            self.units,
            attempts,
            self.policy,
            max_attempts=self.recipe.max_attempts,
            review=self.review,
            checks=self.checks,
        )

    def due(self, facts: Facts, wanted: int) -> tuple[int, np.ndarray] | None:
        """The first unfinished round among the first `wanted` units: its number and the units it still owes."""
        assessment = self.assess(facts)
        first = self.units.possible() & (np.arange(len(self.plan)) < wanted)
        units = replace(self.units, readable=first)
        return filtration.due(units, assessment.attempts, assessment.decisions, self.recipe.max_attempts)

    def passing(self, facts: Facts) -> float:
        """Share of the attempts so far that the policy passes. Looks at new facts only, for the progress bar."""
        attempts, _ = self.attempts(facts, self._told)
        keys = [
            (self.plan.row_ids[unit], int(self.plan.copies[unit]), int(number))
            for unit, number in zip(attempts.units, attempts.attempts, strict=True)
        ]
        verdicts = self.policy.verdicts(self.units.labels[attempts.units], attempts.embeddings, attempts.parents, keys)
        self._passed += int(verdicts.passed.sum())
        self._counted += len(attempts.units)
        self._told = len(facts)
        return self._passed / max(self._counted, 1)


def _chosen(attempts: filtration.AttemptFacts, mask: np.ndarray) -> filtration.AttemptFacts:
    """Some of the attempts."""
    return filtration.AttemptFacts(
        units=attempts.units[mask],
        attempts=attempts.attempts[mask],
        embeddings=attempts.embeddings[mask],
        parents=attempts.parents[mask],
        reasons=[attempts.reasons[place] for place in np.flatnonzero(mask)],
        image_sha256=[attempts.image_sha256[place] for place in np.flatnonzero(mask)],
    )


def _references(
    source: LoadedSource, plan: Plan, facts: Facts, width: int, captions: np.ndarray | None, contexts: np.ndarray | None
) -> ReferenceEmbeddings:
    """The drawn real images that could be read."""
    places = {row: facts.keys.get((plan.source_ids[row], 0, 0)) for row in plan.references.tolist()}
    rows = [row for row, place in places.items() if place is not None and facts.embeddings[place].size]
    return ReferenceEmbeddings(
        row_ids=[plan.source_ids[row] for row in rows],
        labels=source.labels[source.config.split][rows],
        embeddings=facts.matrix([places[row] for row in rows], width),
        classes=len(source.names),
        text=captions,
        contexts=contexts,
    )


def known_captions(ledger: Ledger) -> dict[str, np.ndarray]:
    """Caption -> (d,) float16, of classes and of contexts."""
    known: dict[str, np.ndarray] = {}
    for path in ledger.parts(CLASSES):
        table = ledger.table(path)
        for text, row in zip(table["prompt"].to_pylist(), embedding_rows(table["text_embedding"]), strict=True):
            known.setdefault(text, row)
    return known


def captions_of(texts: Sequence[str], known: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """(N, d) float16: the embeddings of some captions, or None where one is not there."""
    return np.stack([known[text] for text in texts]) if texts and all(text in known for text in texts) else None
