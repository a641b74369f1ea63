"""The policies `mean` (Eq. 5) and `fixed(t)`, which compare an attempt with the real image of its row."""

from __future__ import annotations

import numpy as np

from diffcore_hf.method.arrays import Bools, Floats
from diffcore_hf.method.policies.base import ComparedAttempts, FitInput, FittedPolicy, members
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, rounded, row_cosines, sampled_threshold, unit_rows


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
