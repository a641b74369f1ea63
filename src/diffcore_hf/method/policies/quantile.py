"""The policy `quantile(alpha)`, which compares an attempt with the mean of its class."""

from __future__ import annotations

import numpy as np

from diffcore_hf.method.arrays import Bools, Floats, Ints
from diffcore_hf.method.conformal import similarity_bounds
from diffcore_hf.method.policies.base import ComparedAttempts, FitInput, FittedPolicy, has_embedding, share_by_class
from diffcore_hf.method.policies.separation import Separation, passing_others, separation_of_similarities
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, rounded, row_cosines


class Quantile(FittedPolicy):
    """The policy `quantile(alpha)`: an attempt passes if its similarity to the class mean is at least the bound.

    The bound is conformal (conformal.py). It rejects at most a share of about alpha of new real images from the
    distribution of the dataset.
    """

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, alpha: float) -> None:
        super().__init__(references, sums)
        left_out = sums.left_out_similarities(references.embeddings, references.labels)
        bound, rejected = similarity_bounds(left_out, references.labels, references.classes, alpha)
        self.bound = np.where(sums.counts == 0, -np.inf, bound)
        self.rejected = rejected
        """(N,) float64: 1 where the left-out reference would be rejected, else 0; NaN if there is no score."""
        self._directions = sums.directions()
        empty_classes = np.count_nonzero(sums.counts == 0)
        single_image_classes = np.count_nonzero(sums.counts == 1)
        if empty_classes:
            self.notes += (
                f"{empty_classes} of {len(sums.counts)} classes have no readable real image: "
                "all images of these classes pass",
            )
        if single_image_classes:
            self.notes += (
                f"{single_image_classes} of {len(sums.counts)} classes have one readable real image: "
                "they use the mean score over all classes",
            )

    def similarities(self, labels: Ints, unit: Floats) -> Floats:
        """Returns (m,) float64: the cosine to the class mean, rounded; NaN for a class without references."""
        return row_cosines(unit, self._directions[labels])

    def reaches_bound(self, labels: Ints, unit: Floats, score: Floats) -> Bools:
        """Returns (m,) bool: score >= bound. In a class without references every image passes."""
        return (score >= self.bound[labels]) | ((self.sums.counts[labels] == 0) & has_embedding(unit))

    def _scores(self, attempts: ComparedAttempts) -> Floats:
        return self.similarities(attempts.labels, attempts.unit)

    def _passes(self, attempts: ComparedAttempts, score: Floats) -> tuple[Bools, str]:
        return self.reaches_bound(attempts.labels, attempts.unit, score), self.reason

    def rejected_real(self) -> Floats:
        return share_by_class(self.rejected, self.references)

    def separation(self) -> Separation:
        others = passing_others(self.references, lambda unit: rounded(unit @ self._directions.T) >= self.bound)
        ranks = self._ranking.left_out_ranks()
        return separation_of_similarities(others, self.sums.counts > 0, ranks, self.references.labels)


def fit_quantile(fit: FitInput) -> FittedPolicy:
    """Fits policy quantile."""
    return Quantile(fit.references, fit.sums, fit.parameters["alpha"])
