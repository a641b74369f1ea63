"""Series: facts as numbers by seed, and what may be said about two of them.

Owns the way from files to means, paired differences and their words. Does not own how a page looks (page.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from benchmarks.evidence.store import Store
from benchmarks.evidence.worlds import OWN, PROMPTED, UNMENTIONED
from diffcore_hf.training.comparison.statistics import Difference, paired_difference

GROUPS = (UNMENTIONED, PROMPTED, OWN)
"""In the order in which they are told: contexts that nobody ever mentioned come first."""
BySeed = Mapping[int, float]
Of = Callable[[Mapping[str, Any]], float]
"""A figure of one fact."""


@dataclass(frozen=True)
class Facts:
    """All that was measured."""

    trainings: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, Mapping[str, Any]]
    judge: Mapping[str, Mapping[str, Any]]
    probes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, store: Store) -> Facts:
        """Returns the packed results; a cell that is not measured is left out."""
        return cls(*(store.series(name) for name in ("trainings", "folders", "judge", "probes")))

    def training(self, arm: str, net: str, seed: int) -> Mapping[str, Any] | None:
        """What came of one training; of an equal one where the arm keeps the same images."""
        fact = self.trainings.get(f"{arm}-{net}-{seed}")
        while fact and "same_as" in fact:
            fact = self.trainings.get(f"{fact['same_as']}-{net}-{seed}")
        return fact

    def accuracy(self, arm: str, net: str, group: str) -> BySeed:
        """Seed -> top-1 of the model that validation chose, on a group of the test images."""
        return self._trained(arm, net, lambda fact: fact["best"]["by_group"][group])

    def kept(self, arm: str, net: str) -> BySeed:
        """Seed -> how many generated images an arm trains on."""
        return self._trained(arm, net, lambda fact: fact["kept"])

    def right(self, arm: str, net: str) -> BySeed:
        """Seed -> share of them that show the right species; left out where there are none."""
        return _finite(self._trained(arm, net, lambda fact: ratio(fact.get("right", 0), fact["kept"])))

    def folder(self, generator: str, of: Of) -> BySeed:
        """Seed -> a figure of a way of generating; left out where it is no number."""
        return _finite(_by_seed(self.folders, generator, of))

    def right_species(self, generator: str) -> BySeed:
        """Seed -> share of all attempts that show the species that was asked for."""
        return self.folder(generator, lambda fact: fact["shows"]["right"] / fact["attempts"])

    def judged(self, cell: str, of: Of) -> BySeed:
        """Seed -> a figure of a cell of the judge."""
        return _by_seed(self.judge, cell, of)

    def probed(self, name: str, group: str) -> BySeed:
        """Seed -> accuracy of a linear probe on a group of the test images."""
        return _by_seed(self.probes, "probe", lambda fact: fact[name]["by_group"][group])

    def _trained(self, arm: str, net: str, of: Of) -> BySeed:
        seeds = _by_seed(self.trainings, f"{arm}-{net}", lambda fact: 0.0)
        found = {seed: self.training(arm, net, seed) for seed in seeds}
        return {seed: of(fact) for seed, fact in found.items() if fact is not None}


def _by_seed(facts: Mapping[str, Mapping[str, Any]], name: str, of: Of) -> BySeed:
    found = {int(key.rpartition("-")[2]): fact for key, fact in facts.items() if key.rpartition("-")[0] == name}
    return {seed: of(found[seed]) for seed in sorted(found)}


def _finite(values: BySeed) -> BySeed:
    return {seed: value for seed, value in values.items() if value == value}


def ratio(part: float, whole: float) -> float:
    """part / whole, NaN where there is nothing."""
    return part / whole if whole else float("nan")


def difference(values: BySeed, base: BySeed) -> Difference | None:
    """Paired over the seeds that both have; None where there is none."""
    seeds = sorted(set(values) & set(base))
    return paired_difference([values[s] for s in seeds], [base[s] for s in seeds]) if seeds else None


def percent(values: BySeed) -> str:
    """Mean and standard deviation in percent; a dash where there is nothing to tell."""
    if not values:
        return "–"
    spread = f" ± {100 * stdev(values.values()):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values.values()):.1f}{spread}"


def count(values: BySeed) -> str:
    """Mean of whole numbers."""
    return f"{mean(values.values()):,.0f}" if values else ""


def points(gap: Difference | None) -> str:
    """A difference in points, with its 95 % interval; one that holds zero says so."""
    if gap is None:
        return ""
    told = f"{100 * gap.mean:+.1f}"
    if gap.half is None:
        return f"{told} (one seed)"
    told = f"{told} ± {100 * gap.half:.1f}"
    return told if gap.seen else f"no difference seen ({told})"


def seeds_of(many: Sequence[BySeed]) -> tuple[int, ...]:
    """The seeds that any of several series has."""
    return tuple(sorted({seed for values in many for seed in values}))
