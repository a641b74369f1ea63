"""The policies `mean` (Eq. 5) and `fixed(t)`, which compare an attempt with the real image of its row."""

from __future__ import annotations

import numpy as np

from diffcore_hf.method.arrays import Bools, Floats, Ints
from diffcore_hf.method.policies.base import ComparedAttempts, FitInput, FittedPolicy, members
from diffcore_hf.method.policies.separation import Separation, separation_of_similarities
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, rounded, row_cosines, sampled_threshold, unit_rows

MOST_PARENTS, MOST_OTHERS = 20, 2000
"""Largest numbers of real images of a class, and of all classes, that are compared to measure the separation."""


class AgainstParent(FittedPolicy):
    """The policies `mean` (Eq. 5) and `fixed(t)`. An attempt passes if and only if S(I, G) > bound.

    S is the similarity of the generated image G to the row's real image I.
    An attempt whose real image cannot be read does not pass.
    """

    def __init__(
        self, references: ReferenceEmbeddings, sums: PairSums, bound: Floats, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(references, sums)
        self.bound, self.notes = rounded(bound), notes

    def _scores(self, attempts: ComparedAttempts) -> Floats:
        return row_cosines(attempts.unit, attempts.parents)

    def _passes(self, attempts: ComparedAttempts, score: Floats) -> tuple[Bools, str]:
        return score > self.bound[attempts.labels], self.reason

    def rejected_real(self) -> Floats:
        shares = np.full(self.references.classes, np.nan)
        for label in np.flatnonzero(self.sums.counts > 1).tolist():
            unit = unit_rows(members(self.references, label))
            n, failed = len(unit), 0
            for rows in chunks(n, n):
                failing = rounded(np.clip(unit[rows] @ unit.T, -1, 1)) <= self.bound[label]
                itself = failing[np.arange(len(failing)), np.arange(rows.start, rows.stop)]
                failed += int(np.count_nonzero(failing)) - int(np.count_nonzero(itself))
            shares[label] = failed / (n * (n - 1))
        return shares

    def separation(self) -> Separation:
        ranks = self._ranking.left_out_ranks()
        return separation_of_similarities(self._passing_others(), self.sums.counts > 0, ranks, self.references.labels)

    def _passing_others(self) -> Floats:
        """Returns (K,) float64: share of the pairs of a real image of the class and one of another class that pass.

        All pairs would take O(N^2) operations. So at most MOST_PARENTS images of the class are compared with at most
        MOST_OTHERS images of all classes, which are spread evenly over the ordered references.
        """
        labels, classes = self.references.labels, self.references.classes
        drawn = _spread(len(labels), MOST_OTHERS)
        others = unit_rows(self.references.embeddings[drawn])
        shares = np.full(classes, np.nan)
        for label in np.flatnonzero(self.sums.counts).tolist():
            foreign = others[labels[drawn] != label]
            if len(foreign):
                own = members(self.references, label)
                parents = unit_rows(own[_spread(len(own), MOST_PARENTS)])
                shares[label] = np.mean(rounded(np.clip(parents @ foreign.T, -1, 1)) > self.bound[label])
        return shares


def _spread(count: int, most: int) -> Ints:
    """Returns at most `most` indices below `count`, spread evenly."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.int64))


def fit_fixed(fit: FitInput) -> FittedPolicy:
    """Fits policy fixed."""
    return AgainstParent(fit.references, fit.sums, np.full(fit.references.classes, float(fit.parameters["t"])))


def fit_mean(fit: FitInput) -> FittedPolicy:
    """Fits policy mean: the bound of a class is tau_k (Eq. 5), exact or estimated from sampled pairs.

    A class without pairs uses the threshold that is pooled over all classes. If no class has a pair, the bound is -1.
    """
    references, sums, pairs = fit.references, fit.sums, fit.parameters["pairs"]
    bound = sums.class_thresholds()
    notes: tuple[str, ...] = ()
    if pairs is not None:
        for label in np.flatnonzero(sums.counts > 1).tolist():
            bound[label] = sampled_threshold(members(references, label), pairs, fit.seed, label)
    without_pairs = np.isnan(bound)
    if without_pairs.all():
        bound[:] = -1
        notes = ("no class has two readable real images: there is no threshold, and policy mean accepts everything",)
    elif without_pairs.any():
        bound[without_pairs] = sums.pooled_threshold()
        affected = f"{np.count_nonzero(without_pairs)} of {references.classes} classes"
        notes = (
            f"{affected} have fewer than two readable real images: they use the threshold pooled over all classes",
        )
    return AgainstParent(references, sums, bound, notes)
