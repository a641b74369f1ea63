"""The control policies `all` and `random(p)`, which do not use the image."""

from __future__ import annotations

import numpy as np

from diffcore_hf.core.seeding import uniform
from diffcore_hf.method.arrays import Bools, Floats
from diffcore_hf.method.policies.base import ComparedAttempts, FitInput, FittedPolicy
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums


class Control(FittedPolicy):
    """The policies `all`, which passes every attempt, and `random(p)`, which passes a seeded draw of the attempts.

    For `random(p)` each attempt has a number in [0, 1), which depends on the seed and the attempt's key. The attempt
    passes if and only if this number is below p.

    Args:
        references: the references.
        sums: their sums.
        seed: seed of the recipe.
        share: p in [0, 1]; None: every attempt passes, without a draw.
    """

    reason = "not_drawn"

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, seed: int, share: float | None) -> None:
        super().__init__(references, sums)
        self._seed, self._share = seed, share
        self.bound = np.full(references.classes, np.nan if share is None else share, np.float64)

    def _scores(self, attempts: ComparedAttempts) -> Floats:
        if self._share is None:
            return np.full(len(attempts.labels), np.nan)
        return np.array([uniform("policy", self._seed, *key) for key in attempts.keys], np.float64)

    def _passes(self, attempts: ComparedAttempts, score: Floats) -> tuple[Bools, str]:
        if self._share is None:
            return np.ones(len(score), np.bool_), self.reason
        return score < self._share, self.reason

    def rejected_real(self) -> Floats:
        return np.full(self.references.classes, 0.0 if self._share is None else 1 - self._share)


def fit_all(fit: FitInput) -> FittedPolicy:
    """Fits policy all."""
    return Control(fit.references, fit.sums, fit.seed, None)


def fit_random(fit: FitInput) -> FittedPolicy:
    """Fits policy random."""
    return Control(fit.references, fit.sums, fit.seed, fit.parameters["p"])
