"""The policies `mean` (Eq. 5) and `fixed(t)`, which compare an attempt with the real image of its row."""

from __future__ import annotations

import numpy as np

from diffcore_hf.method.arrays import Bools, Floats
from diffcore_hf.method.policies.base import ComparedAttempts, FitInput, FittedPolicy, members
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, rounded, row_cosines, sampled_threshold, unit_rows


class AgainstParent(FittedPolicy):
    """`mean` (Eq. 5) and `fixed(t)`: keep iff S(I, G) > bound, where I is the row's own image.

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
    """Fits policy mean: tau_k of each class (Eq. 5), exact or by sampled pairs.

    A class without pairs uses the threshold pooled over all classes, or -1 where no class has a pair.
    """
    references, sums, pairs = fit.references, fit.sums, fit.parameters["pairs"]
    bound = sums.class_thresholds()
    notes: tuple[str, ...] = ()
    if pairs is not None:
        for label in np.flatnonzero(sums.counts > 1).tolist():
            bound[label] = sampled_threshold(members(references, label), pairs, fit.seed, label)
    alone = np.isnan(bound)
    if alone.all():
        bound[:] = -1
        notes = ("no class has two readable real images: no threshold, policy mean accepts everything",)
    elif alone.any():
        bound[alone] = sums.pooled_threshold()
        few = f"{np.count_nonzero(alone)} of {references.classes} classes have fewer than two readable real images"
        notes = (f"{few}: they use the threshold pooled over all classes",)
    return AgainstParent(references, sums, bound, notes)
