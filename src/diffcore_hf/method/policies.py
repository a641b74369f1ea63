"""Policies: which generated images pass, given real images of their class.

Owns the six policies and what each would do to real images. Does not own their parameters (core/recipe.py), facts,
reviews, duplicates and what becomes of a unit (filtration.py), nor the statistics (thresholds.py, conformal.py,
ranking.py).

A verdict about an attempt depends on that attempt and on the references alone, never on other attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffcore_hf.config.augment import Policy, policy_parameters
from diffcore_hf.core.seeding import uniform
from diffcore_hf.method.conformal import rank_bounds, similarity_bounds
from diffcore_hf.method.ranking import RANKINGS, ByClassMean, Ranking
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, row_cosines, sampled_threshold, settled, unit_rows

Key = tuple[str, int, int]
"""Row id, copy, attempt."""

FLOOR_ALPHA = 0.01
FLOOR_BELOW_CLASSES = 20


@dataclass(frozen=True)
class Verdicts:
    """What a policy says of M attempts, and by what."""

    score: np.ndarray
    """(M,) float64: what was compared (S, the draw, or a rank); NaN where there is nothing to compare."""
    bound: np.ndarray
    """(M,) float64: with what."""
    class_rank: np.ndarray
    """(M,) int64, 1 = best, by the policy's judge or else by class mean; 0 without embedding or class to rank."""
    passed: np.ndarray
    """(M,) bool."""
    reasons: list[str | None]
    """Why each attempt does not pass (a reason of checks.py); None: it passes."""


class FittedPolicy:
    """A policy fitted to references: the same verdict for the same attempt, whatever else there is to judge."""

    reason = "low_similarity"

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, ranking: Ranking | None = None):
        self.references, self.sums = references, sums
        self.bound = np.full(references.classes, np.nan)
        """(K,) float64: what a score of each class is held against; NaN where the policy compares nothing."""
        self.notes: tuple[str, ...] = ()
        """What a person should know about the fit, a sentence each."""
        self._ranking = ranking or ByClassMean(references, sums)

    def verdicts(
        self, labels: np.ndarray, embeddings: np.ndarray, parents: np.ndarray, keys: Sequence[Key]
    ) -> Verdicts:
        """Verdicts on M attempts.

        Args:
            labels: (M,) int64, the class that was asked for.
            embeddings: (M, d) float16; NaN where there is no image, which passes no policy that looks at it.
            parents: (M, d) float16, embedding of the row's real image; NaN where unreadable.
            keys: M times (row id, copy, attempt).
        """
        m = len(labels)
        score, bound = np.full(m, np.nan), self.bound[labels].astype(np.float64)
        rank, passed, reasons = np.zeros(m, np.int64), np.zeros(m, bool), np.full(m, None, object)
        for rows in chunks(m, max(embeddings.shape[1], self.references.classes)):
            unit = unit_rows(embeddings[rows])
            rank[rows] = self._ranking.ranks(unit, labels[rows])
            score[rows] = self._scores(labels[rows], unit, parents[rows], keys[rows], rank[rows])
            passed[rows], reasons[rows] = self._passes(labels[rows], unit, score[rows])
        return Verdicts(score, bound, rank, passed, np.where(passed, None, reasons).tolist())

    def rejected_real(self) -> np.ndarray:
        """(K,) float64: share of each class's real images that the policy would reject; NaN with none to count.

        Each is judged as if left out of its class. For `mean` and `fixed`: the share of ordered pairs of two different
        real images of the class that fail. `all`: 0. `random(p)`: 1 - p.
        """
        raise NotImplementedError

    def _scores(self, labels, unit, parents, keys, rank) -> np.ndarray:
        raise NotImplementedError

    def _passes(self, labels, unit, score) -> tuple[np.ndarray, str | np.ndarray]:
        """(m,) bool, and the reason of those that do not pass: one word, or a word each."""
        raise NotImplementedError


class Control(FittedPolicy):
    """`all` (share 1) and `random(p)`: keep iff the attempt's own draw in [0, 1) is below p."""

    reason = "not_drawn"

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, seed: int, share: float | None):
        super().__init__(references, sums)
        self._seed, self._share = seed, share
        self.bound = np.full(references.classes, np.nan if share is None else share, np.float64)

    def _scores(self, labels, unit, parents, keys, rank):
        if self._share is None:
            return np.full(len(labels), np.nan)
        return np.array([uniform("policy", self._seed, *key) for key in keys])

    def _passes(self, labels, unit, score):
        return np.full(len(labels), True) if self._share is None else score < self._share, self.reason

    def rejected_real(self) -> np.ndarray:
        return np.full(self.references.classes, 0.0 if self._share is None else 1 - self._share)


class AgainstParent(FittedPolicy):
    """`mean` (Eq. 5) and `fixed(t)`: keep iff S(I, G) > bound, I being the row's own image. No parent, no pass."""

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, bound: np.ndarray, notes: tuple[str, ...] = ()):
        super().__init__(references, sums)
        self.bound, self.notes = settled(bound), notes

    def _scores(self, labels, unit, parents, keys, rank):
        return row_cosines(unit, parents)

    def _passes(self, labels, unit, score):
        return score > self.bound[labels], self.reason

    def rejected_real(self) -> np.ndarray:
        shares = np.full(self.references.classes, np.nan)
        starts = np.searchsorted(self.references.labels, np.arange(self.references.classes + 1))
        for label in np.flatnonzero(self.sums.counts > 1):
            unit = unit_rows(self.references.embeddings[starts[label] : starts[label + 1]])
            n, failed = len(unit), 0
            for rows in chunks(n, n):
                failing = settled(np.clip(unit[rows] @ unit.T, -1, 1)) <= self.bound[label]
                itself = failing[np.arange(len(failing)), np.arange(rows.start, rows.stop)]
                failed += np.count_nonzero(failing) - np.count_nonzero(itself)
            shares[label] = failed / (n * (n - 1))
        return shares


class Quantile(FittedPolicy):
    """`quantile(alpha)`: keep iff the similarity to the class mean is one that a share 1 - alpha of real images reach.

    Conformal, see conformal.py: at most about alpha of fresh real images like those of the dataset would be rejected.
    """

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, alpha: float):
        super().__init__(references, sums)
        left_out = sums.left_out_similarities(references.embeddings, references.labels)
        self.bound, self._rejected = similarity_bounds(left_out, references.labels, references.classes, alpha)
        self._directions = sums.directions()
        self.bound[sums.counts == 0] = -np.inf
        without, alone = (np.count_nonzero(sums.counts == n) for n in (0, 1))
        if without:
            self.notes += (f"{without} of {len(sums.counts)} classes have no readable real image: all passes there",)
        if alone:
            self.notes += (
                f"{alone} of {len(sums.counts)} classes have one readable real image: "
                "the mean score over all classes stands in",
            )

    def similarities(self, labels: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """(m,) float64: cosine to the mean of the own class, settled; NaN where it has no references."""
        return row_cosines(unit, self._directions[labels])

    def clears(self, labels: np.ndarray, unit: np.ndarray, score: np.ndarray) -> np.ndarray:
        """(m,) bool: score >= bound; a class without references lets every image pass."""
        return (score >= self.bound[labels]) | ((self.sums.counts[labels] == 0) & ~np.isnan(unit).any(axis=1))

    def _scores(self, labels, unit, parents, keys, rank):
        return self.similarities(labels, unit)

    def _passes(self, labels, unit, score):
        return self.clears(labels, unit, score), self.reason

    def rejected_real(self) -> np.ndarray:
        return _share_by_class(self._rejected, self.references)


class Rank(FittedPolicy):
    """`rank(by, alpha)`: keep iff the own class stands at rank r_alpha or better, and the floor is cleared.

    Conformal, see conformal.py: at most about alpha of fresh real images like those of the dataset would be rejected
    for their rank; the floor, where it is on, adds at most about one percent.
    """

    reason = "low_rank"

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, ranking: Ranking, alpha: float, floor: bool):
        super().__init__(references, sums, ranking)
        self.notes += ranking.notes
        ranks = ranking.left_out_ranks()
        self.bound, self._rejected = rank_bounds(ranks, references.labels, references.classes, alpha)
        unknown = np.count_nonzero(~ranking.ranked)
        if unknown:
            self.notes += (f"{unknown} of {references.classes} classes cannot be ranked: every rank passes there",)
        if not ranks.any():
            self.notes += ("no real image can be ranked when left out: policy rank accepts every rank",)
        elif vacuous := np.count_nonzero(ranking.ranked & (self.bound >= np.count_nonzero(ranking.ranked))):
            self.notes += (
                f"in {vacuous} of {references.classes} classes every rank passes, because {1 - alpha:.0%} of the real "
                "images reach no better: the image tower does not tell the classes apart, or there are too few images",
            )
        self._floor = Quantile(references, sums, FLOOR_ALPHA) if floor else None
        if self._floor:
            self._rejected = np.fmax(self._rejected, np.where(np.isnan(self._rejected), np.nan, self._floor._rejected))

    def _scores(self, labels, unit, parents, keys, rank):
        return np.where(rank > 0, rank, np.nan)

    def _passes(self, labels, unit, score):
        unknown = ~self._ranking.ranked[labels] & ~np.isnan(unit).any(axis=1)
        placed = (score <= self.bound[labels]) | unknown
        if not self._floor:
            return placed, self.reason
        cleared = self._floor.clears(labels, unit, self._floor.similarities(labels, unit))
        return placed & cleared, np.where(placed, "below_floor", self.reason)

    def rejected_real(self) -> np.ndarray:
        return _share_by_class(self._rejected, self.references)


def fit(policy: Policy, references: ReferenceEmbeddings, seed: int) -> FittedPolicy:
    """The policy fitted to the references, once; order of the references does not matter.

    Args:
        policy: the recipe's filter.policy.
        references: real images, see there.
        seed: the recipe's; `random` and `mean` with `pairs` draw by it.

    Raises:
        UserError: policy rank by text without text embeddings.
    """
    parameters = policy_parameters(policy)
    references = references.ordered()
    sums = PairSums.of(references.embeddings, references.labels, references.classes)
    match policy.name:
        case "all":
            return Control(references, sums, seed, None)
        case "random":
            return Control(references, sums, seed, parameters["p"])
        case "fixed":
            return AgainstParent(references, sums, np.full(references.classes, float(parameters["t"])))
        case "mean":
            return _fit_mean(references, sums, seed, parameters["pairs"])
        case "quantile":
            return Quantile(references, sums, parameters["alpha"])
    ranking = RANKINGS[parameters["by"]](references, sums)
    if np.count_nonzero(ranking.ranked) < 2:
        judge = Quantile(references, sums, parameters["alpha"])
        judge.notes += (f"with one class there is no rank: quantile({parameters['alpha']}) decides in place of rank",)
        return judge
    floor = parameters["floor"] == "on" or (parameters["floor"] == "auto" and references.classes < FLOOR_BELOW_CLASSES)
    return Rank(references, sums, ranking, parameters["alpha"], floor)


def _fit_mean(references: ReferenceEmbeddings, sums: PairSums, seed: int, pairs: int | None) -> AgainstParent:
    """tau_k a class, exact or by `pairs` sampled pairs; without pairs the pooled threshold, without any -1."""
    bound, notes = sums.class_thresholds(), ()
    if pairs is not None:
        starts = np.searchsorted(references.labels, np.arange(references.classes + 1))
        for label in np.flatnonzero(sums.counts > 1):
            members = references.embeddings[starts[label] : starts[label + 1]]
            bound[label] = sampled_threshold(members, pairs, seed, int(label))
    alone = np.isnan(bound)
    if alone.all():
        bound[:], notes = -1, ("no class has two readable real images: no threshold, policy mean accepts everything",)
    elif alone.any():
        bound[alone] = sums.pooled_threshold()
        few = f"{np.count_nonzero(alone)} of {references.classes} classes have fewer than two readable real images"
        notes = (f"{few}: the threshold pooled over all classes stands in",)
    return AgainstParent(references, sums, bound, notes)


def _share_by_class(rejected: np.ndarray, references: ReferenceEmbeddings) -> np.ndarray:
    """(K,) mean of the (N,) judgements that are not NaN; NaN for classes without."""
    counted = ~np.isnan(rejected)
    counts = np.bincount(references.labels[counted], minlength=references.classes)
    sums = np.bincount(references.labels[counted], weights=rejected[counted], minlength=references.classes)
    return np.divide(sums, counts, out=np.full(references.classes, np.nan), where=counts > 0)
