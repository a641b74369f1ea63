"""Results on photographs as numbers by seed, with the learning rate that the validation split chose for each arm.

Owns the choice of the rate while cells are missing: the best of the rates that are measured so far. Does not own the
arms (photo_trainings.py) or the text (photo_page.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from benchmarks.evidence.cells import SEEDS
from benchmarks.evidence.photo_trainings import ARMS, RATES, TUNING, PhotoTraining, chosen_rate, validated
from benchmarks.evidence.series import BySeed

FLAT = 0.005
"""A training is flat if validation top-1 changes by less than this number over its last third."""


@dataclass(frozen=True)
class PhotoResults:
    """Results of the trainings on photographs, by the name of the cell."""

    measured: Mapping[str, Mapping[str, Any]]

    def rate(self, arm: str) -> float | None:
        """Returns the learning rate of an arm; None if no rate is measured with both seeds in TUNING.

        If some rates are not measured yet, it is the best of the measured rates.
        """
        if chosen := chosen_rate(self.measured, arm):
            return chosen
        scores = {rate: validated(self.measured, arm, rate) for rate in sorted(RATES)}
        known = {rate: score for rate, score in scores.items() if score is not None}
        return max(known, key=lambda rate: known[rate]) if known else None

    def accuracy(self, arm: str, length: str = "short", key: str = "top1") -> BySeed:
        """Returns seed -> accuracy of the model with the best validation score, on the test images."""
        found = self._trainings(arm, length)
        return {seed: result["best"][key] for seed, result in found.items()}

    def validation(self, arm: str, rate: float) -> float | None:
        """Returns the validation top-1 by which the rate is chosen; None if a seed in TUNING is not measured yet."""
        return validated(self.measured, arm, rate)

    def change_at_the_end(self, arm: str, length: str = "short") -> float | None:
        """Returns the change of validation top-1 over the last third of the steps, as mean over the seeds."""
        changes = []
        for result in self._trainings(arm, length).values():
            scores = dict(map(tuple, result["validation"]))
            before = min(scores, key=lambda step: abs(step - 2 * result["steps"] / 3))
            changes.append(scores[result["steps"]] - scores[before])
        return mean(changes) if changes else None

    @property
    def rates_complete(self) -> bool:
        """Returns whether every learning rate is measured for every arm."""
        return all(chosen_rate(self.measured, arm) for arm in ARMS)

    @property
    def wanted(self) -> int:
        """Returns the number of trainings that the section needs."""
        return len(ARMS) * (len(RATES) * len(TUNING) + len(SEEDS) - len(TUNING) + len(SEEDS))

    def _trainings(self, arm: str, length: str) -> dict[int, Mapping[str, Any]]:
        rate = self.rate(arm) or RATES[0]
        names = {seed: PhotoTraining(arm, length, rate, seed).name for seed in SEEDS}
        return {seed: self.measured[name] for seed, name in names.items() if name in self.measured}
