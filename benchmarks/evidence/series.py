"""One number for each seed of a measurement, and the difference of two such series as text.

Owns means, paired differences and their text. Does not own the layout of the page (page.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import mean, stdev
from typing import Any

from benchmarks.evidence.store import Store
from benchmarks.evidence.worlds import OWN, PROMPTED, UNMENTIONED
from diffcore_hf.training.comparison.statistics import Difference, paired_difference

GROUPS = (UNMENTIONED, PROMPTED, OWN)
"""Groups of test images in the order of the tables: contexts that were never mentioned come first."""
BySeed = Mapping[int, float]
Of = Callable[[Mapping[str, Any]], float]
"""Function that computes one number from a result."""


@dataclass(frozen=True)
class Results:
    """All packed results, by series."""

    trainings: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, Mapping[str, Any]]
    judge: Mapping[str, Mapping[str, Any]]
    probes: Mapping[str, Mapping[str, Any]]
    photographs: Mapping[str, Mapping[str, Any]]
    counterparts: Mapping[str, Mapping[str, Any]]
    photo_filter: Mapping[str, Mapping[str, Any]]
    mixers: Mapping[str, Mapping[str, Any]]
    photo_mixers: Mapping[str, Mapping[str, Any]]
    hard: Mapping[str, Mapping[str, Any]]
    strategies: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, store: Store) -> Results:
        """Returns the packed results. A cell that is not measured is left out."""
        return cls(**{field.name: store.series(field.name) for field in fields(cls)})

    def series(self) -> list[Mapping[str, Mapping[str, Any]]]:
        """Returns the results of each series."""
        return [getattr(self, field.name) for field in fields(self)]

    def training(self, arm: str, net: str, seed: int) -> Mapping[str, Any] | None:
        """Returns the result of a training; None if it is not measured.

        An arm that trains on the same images as another arm is not trained. The result of the other arm is returned.
        """
        result = self.trainings.get(f"{arm}-{net}-{seed}")
        while result and "same_as" in result:
            result = self.trainings.get(f"{result['same_as']}-{net}-{seed}")
        return result

    def accuracy(self, arm: str, net: str, group: str) -> BySeed:
        """Returns seed -> top-1 of the model with the best validation score, on a group of the test images."""
        return self._trained(arm, net, lambda result: result["best"]["by_group"][group])

    def of_mixer(self, arm: str, net: str, group: str) -> BySeed:
        """Returns seed -> top-1 of an arm of series `mixers`, on a group of the test images."""
        return _by_seed(self.mixers, f"{arm}-{net}", lambda result: result["best"]["by_group"][group])

    def of_series(self, series: str, arm: str, net: str, of: Of) -> BySeed:
        """Returns seed -> one number computed from the results of an arm in a series of trainings.

        If a result names another arm in `same_as`, that arm trained on the same images, and its scores are used. Seeds
        with NaN are left out.
        """
        found: Mapping[str, Mapping[str, Any]] = getattr(self, series)

        def number(seed: int) -> float:
            result = found[f"{arm}-{net}-{seed}"]
            scored = found.get(f"{result['same_as']}-{net}-{seed}") if "same_as" in result else result
            return float("nan") if scored is None else of({**scored, **result})

        return _finite({seed: number(seed) for seed in _by_seed(found, f"{arm}-{net}", lambda result: 0.0)})

    def kept(self, arm: str, net: str) -> BySeed:
        """Returns seed -> number of generated images that an arm trains on."""
        return self._trained(arm, net, lambda result: result["kept"])

    def right(self, arm: str, net: str) -> BySeed:
        """Returns seed -> share of the generated images of an arm that show the right species.

        Seeds for which the arm has no generated image are left out.
        """
        return _finite(self._trained(arm, net, lambda result: ratio(result.get("right", 0), result["kept"])))

    def folder(self, generator: str, of: Of) -> BySeed:
        """Returns seed -> one number computed from the folder of a generator. Seeds with NaN are left out."""
        return _finite(_by_seed(self.folders, generator, of))

    def right_species(self, generator: str) -> BySeed:
        """Returns seed -> share of all attempts that show the species of their prompt."""
        return self.folder(generator, lambda result: result["shows"]["right"] / result["attempts"])

    def judged(self, cell: str, of: Of) -> BySeed:
        """Returns seed -> one number computed from a cell of series `judge`."""
        return _by_seed(self.judge, cell, of)

    def probed(self, name: str, group: str) -> BySeed:
        """Returns seed -> accuracy of a linear probe on a group of the test images."""
        return _by_seed(self.probes, "probe", lambda result: result[name]["by_group"][group])

    def _trained(self, arm: str, net: str, of: Of) -> BySeed:
        seeds = _by_seed(self.trainings, f"{arm}-{net}", lambda result: 0.0)
        trainings = {seed: self.training(arm, net, seed) for seed in seeds}
        return {seed: of(result) for seed, result in trainings.items() if result is not None}


def _by_seed(results: Mapping[str, Mapping[str, Any]], name: str, of: Of) -> BySeed:
    by_seed = {int(key.rpartition("-")[2]): result for key, result in results.items() if key.rpartition("-")[0] == name}
    return {seed: of(by_seed[seed]) for seed in sorted(by_seed)}


def _finite(values: BySeed) -> BySeed:
    return {seed: value for seed, value in values.items() if value == value}


def ratio(numerator: float, denominator: float) -> float:
    """Returns the ratio of two numbers; NaN if the denominator is 0."""
    return numerator / denominator if denominator else float("nan")


def difference(values: BySeed, base: BySeed) -> Difference | None:
    """Returns the difference of two series, paired by their common seeds; None if they have no seed in common."""
    seeds = sorted(set(values) & set(base))
    return paired_difference([values[s] for s in seeds], [base[s] for s in seeds]) if seeds else None


def percent(values: BySeed) -> str:
    """Returns mean and standard deviation in percent; a dash if there are no values."""
    if not values:
        return "–"
    spread = f" ± {100 * stdev(values.values()):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values.values()):.1f}{spread}"


def count(values: BySeed) -> str:
    """Returns the mean, rounded to a whole number, as text; an empty text if there are no values."""
    return f"{mean(values.values()):,.0f}" if values else ""


def points(gap: Difference | None) -> str:
    """Returns a difference in points with its 95 % interval. If the interval contains zero, the text says so."""
    if gap is None:
        return ""
    text = f"{100 * gap.mean:+.1f}"
    if gap.half is None:
        return f"{text} (one seed)"
    text = f"{text} ± {100 * gap.half:.1f}"
    return text if gap.seen else f"no difference seen ({text})"


def seeds_of(many: Sequence[BySeed]) -> tuple[int, ...]:
    """Returns the seeds that at least one of several series has."""
    return tuple(sorted({seed for values in many for seed in values}))
