"""What a filter policy is after it was fitted, and what its verdicts hold.

Owns the protocol that each policy implements (FittedPolicy), its input for one chunk of attempts (ComparedAttempts) and
the input of the functions that fit policies (FitInput).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffcore_hf.method.arrays import Bools, Embeddings, Floats, Ints
from diffcore_hf.method.ranking import ByClassMean, Ranking
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, unit_rows

Key = tuple[str, int, int]
"""Row id, copy, attempt."""


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a policy on M attempts, with the numbers that were compared."""

    score: Floats
    """(M,) float64: a similarity in [-1, 1], a draw in [0, 1), or a rank; NaN where there is nothing to compare."""
    bound: Floats
    """(M,) float64: the bound that the score is compared with; NaN where the policy has none."""
    class_rank: Ints
    """(M,) int64, 1 = best, by the policy's ranking or else by class mean; 0 without embedding or class to rank."""
    passed: Bools
    """(M,) bool."""
    reasons: list[str | None]
    """Why each attempt does not pass (a reason of checks.py); None: it passes."""


@dataclass(frozen=True)
class ComparedAttempts:
    """One chunk of the attempts that are compared."""

    labels: Ints
    """(m,) int64: the class that was asked for."""
    unit: Floats
    """(m, d) float64 rows of norm 1; NaN where there is no image."""
    parents: Embeddings
    """(m, d) float16: embedding of the row's real image; NaN where it cannot be read."""
    keys: Sequence[Key]
    ranks: Ints
    """(m,) int64: rank of the own class; 0 where there is none."""


class FittedPolicy:
    """A policy after it was fitted to the references. The same attempt gets the same verdict, whatever else exists.

    Each policy is a subclass with the methods `rejected_real`, `_scores` and `_passes`.
    """

    reason = "low_similarity"
    """The reason of attempts that do not pass."""

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, ranking: Ranking | None = None) -> None:
        self.references, self.sums = references, sums
        self.bound: Floats = np.full(references.classes, np.nan)
        """(K,) float64: the bound of each class; NaN where the policy compares nothing."""
        self.notes: tuple[str, ...] = ()
        """Remarks on the fit for the summary and the card, a sentence each."""
        self._ranking = ranking or ByClassMean(references, sums)

    def verdicts(self, labels: Ints, embeddings: Embeddings, parents: Embeddings, keys: Sequence[Key]) -> Verdicts:
        """Returns the verdicts on M attempts.

        Args:
            labels: (M,) int64, the class that was asked for.
            embeddings: (M, d) float16; NaN where there is no image. Such a row passes only the control policies.
            parents: (M, d) float16, embedding of the row's real image; NaN where it cannot be read.
            keys: M times (row id, copy, attempt).
        """
        m = len(labels)
        score, bound = np.full(m, np.nan), self.bound[labels].astype(np.float64)
        rank, passed, reasons = np.zeros(m, np.int64), np.zeros(m, np.bool_), np.full(m, None, np.object_)
        for rows in chunks(m, max(embeddings.shape[1], self.references.classes)):
            unit = unit_rows(embeddings[rows])
            rank[rows] = self._ranking.ranks(unit, labels[rows])
            attempts = ComparedAttempts(labels[rows], unit, parents[rows], keys[rows], rank[rows])
            score[rows] = self._scores(attempts)
            passed[rows], reasons[rows] = self._passes(attempts, score[rows])
        reasons[passed] = None
        return Verdicts(score, bound, rank, passed, reasons.tolist())

    def rejected_real(self) -> Floats:
        """Returns the share of each class's real images that the policy would reject.

        Each image is judged as if left out of its class. For `mean` and `fixed` it is the share of ordered pairs of two
        different real images of the class that fail. `all`: 0. `random(p)`: 1 - p.

        Returns:
            (K,) float64 in [0, 1]; NaN where there is nothing to count.
        """
        raise NotImplementedError

    def _scores(self, attempts: ComparedAttempts) -> Floats:
        """Returns (m,) float64: what the policy compares."""
        raise NotImplementedError

    def _passes(self, attempts: ComparedAttempts, score: Floats) -> tuple[Bools, str | np.ndarray]:
        """Returns (m,) bool, and the reason of the attempts that do not pass: one for all, or (m,) one for each."""
        raise NotImplementedError


@dataclass(frozen=True)
class FitInput:
    """What the function that fits a policy receives."""

    references: ReferenceEmbeddings
    """In the order of `ReferenceEmbeddings.ordered`."""
    sums: PairSums
    """Over these references."""
    seed: int
    """The recipe's."""
    parameters: dict[str, Any]
    """The parameters that the policy reads, defaults filled in."""


def members(references: ReferenceEmbeddings, label: int) -> Embeddings:
    """Returns the (n, d) embeddings of one class; `references` must be ordered."""
    start, stop = np.searchsorted(references.labels, [label, label + 1])
    return references.embeddings[start:stop]


def has_embedding(unit: Floats) -> Bools:
    """Returns (m,) bool: true where a row has no NaN."""
    return np.count_nonzero(np.isnan(unit), axis=1) == 0


def share_by_class(rejected: Floats, references: ReferenceEmbeddings) -> Floats:
    """Returns the (K,) mean by class of the (N,) values that are not NaN; NaN for classes without any."""
    counted = ~np.isnan(rejected)
    counts = np.bincount(references.labels[counted], minlength=references.classes)
    sums = np.bincount(references.labels[counted], weights=rejected[counted], minlength=references.classes)
    return np.divide(sums, counts, out=np.full(references.classes, np.nan), where=counts > 0)
