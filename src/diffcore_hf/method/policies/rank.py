"""The policy `rank(by, alpha)`, which ranks the class that an image has to show among all classes."""

from __future__ import annotations

import numpy as np

from diffcore_hf.method.arrays import Bools, Floats
from diffcore_hf.method.conformal import rank_bounds
from diffcore_hf.method.policies.base import ComparedAttempts, FitInput, FittedPolicy, has_embedding, share_by_class
from diffcore_hf.method.policies.quantile import Quantile
from diffcore_hf.method.policies.separation import Separation, separation_of_ranks
from diffcore_hf.method.ranking import RANKINGS, Ranking
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums

FLOOR_ALPHA = 0.01
"""Share of real images that the floor of policy rank may reject."""
FLOOR_BELOW_CLASSES = 20
"""If `floor` is `auto`, policy rank has a floor if and only if there are fewer classes than this."""


class Rank(FittedPolicy):
    """The policy `rank(by, alpha)`: an attempt passes if and only if the rank of its class is r_alpha or better.

    The bound is conformal (conformal.py). It rejects at most a share of about alpha of new real images from the
    distribution of the dataset. If the policy has a floor, an attempt must also reach the bound of `quantile(0.01)`,
    which rejects at most about one percent more.
    """

    reason = "low_rank"

    def __init__(
        self, references: ReferenceEmbeddings, sums: PairSums, ranking: Ranking, alpha: float, floor: bool
    ) -> None:
        super().__init__(references, sums, ranking)
        self.notes += ranking.notes
        if unknown := np.count_nonzero(~ranking.ranked):
            classes = references.classes
            self.notes += (f"{unknown} of {classes} classes cannot be ranked: all their images pass the rank test",)
        self._ranks = ranking.left_out_ranks()
        self.bound, self._rejected = rank_bounds(self._ranks, references.labels, references.classes, alpha)
        self._floor = Quantile(references, sums, FLOOR_ALPHA) if floor else None
        if self._floor:
            below = np.where(np.isnan(self._rejected), np.nan, self._floor.rejected)
            self._rejected = np.fmax(self._rejected, below)

    def _scores(self, attempts: ComparedAttempts) -> Floats:
        return np.where(attempts.ranks > 0, attempts.ranks, np.nan)

    def _passes(self, attempts: ComparedAttempts, score: Floats) -> tuple[Bools, str | np.ndarray]:
        labels, unit = attempts.labels, attempts.unit
        unknown = ~self._ranking.ranked[labels] & has_embedding(unit)
        rank_passes = (score <= self.bound[labels]) | unknown
        if not self._floor:
            return rank_passes, self.reason
        above_floor = self._floor.reaches_bound(labels, unit, self._floor.similarities(labels, unit))
        return rank_passes & above_floor, np.where(rank_passes, "below_floor", self.reason)

    def rejected_real(self) -> Floats:
        return share_by_class(self._rejected, self.references)

    def separation(self) -> Separation:
        return separation_of_ranks(self.bound, self._ranking.ranked, self._ranks, self.references.labels)


def fit_rank(fit: FitInput) -> FittedPolicy:
    """Fits policy rank. If fewer than two classes can be ranked, policy quantile replaces it."""
    references, alpha, floor = fit.references, fit.parameters["alpha"], fit.parameters["floor"]
    ranking = RANKINGS[fit.parameters["by"]](references, fit.sums)
    if np.count_nonzero(ranking.ranked) < 2:
        policy = Quantile(references, fit.sums, alpha)
        policy.notes += (f"fewer than two classes can be ranked: policy quantile({alpha}) replaces policy rank",)
        return policy
    with_floor = floor == "on" or (floor == "auto" and references.classes < FLOOR_BELOW_CLASSES)
    return Rank(references, fit.sums, ranking, alpha, with_floor)
