"""The base class of fitted filter policies, and the records of their inputs and verdicts.

FittedPolicy is the class that each policy extends. FitInput is the input of the functions that fit policies.
ComparedAttempts is the input of a fitted policy for one chunk of attempts. Verdicts is its output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffcore_hf.core.schema import AttemptKey
from diffcore_hf.method.arrays import Bools, Embeddings, Floats, Ints
from diffcore_hf.method.policies.separation import Separation
from diffcore_hf.method.ranking import ByClassMean, Ranking
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, unit_rows


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a policy on M attempts, with the numbers that were compared."""

    score: Floats
    """(M,) float64: a similarity in [-1, 1], a draw in [0, 1), or a rank; NaN if there is no number to compare."""
    bound: Floats
    """(M,) float64: bound that the score is compared with; NaN if the policy has none."""
    class_rank: Ints
    """(M,) int64: rank of the class that the image has to show, 1 = best; 0 if there is no rank. A policy that has no
    ranking ranks by class mean."""
    passed: Bools
    """(M,) bool: true if the attempt passes."""
    reasons: list[str | None]
    """Reason for which each attempt does not pass (checks.py); None: it passes."""


@dataclass(frozen=True)
class ComparedAttempts:
    """One chunk of the attempts that a policy compares."""

    labels: Ints
    """(m,) int64: class that each image has to show."""
    unit: Floats
    """(m, d) float64: embeddings divided by their norms; NaN if there is no image."""
    parents: Embeddings
    """(m, d) float16: embedding of the row's real image; NaN if that image cannot be read."""
    keys: Sequence[AttemptKey]
    """m keys (row id, copy, attempt)."""
    ranks: Ints
    """(m,) int64: rank of the class in `labels`; 0 if there is no rank."""


class FittedPolicy:
    """A policy that is fitted to the references. Its verdict on an attempt does not depend on other attempts.

    Each policy is a subclass with the methods `rejected_real`, `_scores` and `_passes`.
    """

    reason = "low_similarity"
    """The reason that attempts get if they do not pass."""

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, ranking: Ranking | None = None) -> None:
        self.references, self.sums = references, sums
        self.bound: Floats = np.full(references.classes, np.nan)
        """(K,) float64: bound of each class; NaN if the policy compares nothing."""
        self.notes: tuple[str, ...] = ()
        """Remarks on the fit for the summary and the card, one line each."""
        self._ranking = ranking or ByClassMean(references, sums)

    def verdicts(
        self, labels: Ints, embeddings: Embeddings, parents: Embeddings, keys: Sequence[AttemptKey]
    ) -> Verdicts:
        """Returns the verdicts on M attempts.

        Args:
            labels: (M,) int64, class that each image has to show.
            embeddings: (M, d) float16; NaN if there is no image. Such an attempt passes only the control policies.
            parents: (M, d) float16, embedding of the row's real image; NaN if that image cannot be read.
            keys: M keys (row id, copy, attempt).
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

        Each image is left out of its class when it is compared. For `mean` and `fixed` the result is a share of the
        ordered pairs of two different real images of the class. It is the share of pairs whose similarity is not above
        the bound. For `all` it is 0, and for `random(p)` it is 1 - p.

        Returns:
            (K,) float64 in [0, 1]; NaN for a class without images to compare.
        """
        raise NotImplementedError

    def separation(self) -> Separation | None:
        """Returns how well the policy separates the classes; None if it does not compare images."""
        return None

    def _scores(self, attempts: ComparedAttempts) -> Floats:
        """Returns (m,) float64: the number of each attempt that the policy compares with its bound."""
        raise NotImplementedError

    def _passes(self, attempts: ComparedAttempts, score: Floats) -> tuple[Bools, str | np.ndarray]:
        """Returns (m,) bool, true for attempts that pass; and the reason of the other attempts, as one text or as (m,)
        texts."""
        raise NotImplementedError


@dataclass(frozen=True)
class FitInput:
    """The input of a function that fits a policy."""

    references: ReferenceEmbeddings
    """The references in the order of `ReferenceEmbeddings.ordered`."""
    sums: PairSums
    """The sums over these references."""
    seed: int
    """Seed of the recipe."""
    parameters: dict[str, Any]
    """The parameters that the policy uses, with defaults filled in."""


def members(references: ReferenceEmbeddings, label: int) -> Embeddings:
    """Returns the (n, d) embeddings of one class; `references` must be ordered."""
    start, stop = np.searchsorted(references.labels, [label, label + 1])
    return references.embeddings[start:stop]


def has_embedding(unit: Floats) -> Bools:
    """Returns (m,) bool: true where a row has no NaN."""
    return np.count_nonzero(np.isnan(unit), axis=1) == 0


def share_by_class(rejected: Floats, references: ReferenceEmbeddings) -> Floats:
    """Returns (K,) float64: the mean of the values of each class that are not NaN; NaN for a class without such values.

    Args:
        rejected: (N,) float64, one value for each reference.
        references: the references, which give the classes.
    """
    counted = ~np.isnan(rejected)
    counts = np.bincount(references.labels[counted], minlength=references.classes)
    sums = np.bincount(references.labels[counted], weights=rejected[counted], minlength=references.classes)
    return np.divide(sums, counts, out=np.full(references.classes, np.nan), where=counts > 0)
