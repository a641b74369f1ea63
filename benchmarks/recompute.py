"""Recomputes the numbers in the README and in the first section of docs/results.md from the stored results.

    python -m benchmarks.recompute

The script shares no code with benchmarks.evidence, so that it can find errors there. It reads the JSON files in
benchmarks/evidence/results and computes means, standard deviations and paired intervals. It compares these with every
number that has one decimal in the two texts. If a number differs, it is printed, and the exit status is 1.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
STORED = ROOT / "benchmarks" / "evidence" / "results"
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
"""0.975 quantiles of Student's t by degrees of freedom."""
NEVER, PROMPTED, OWN = "never mentioned", "prompted", "own"
NUMBER = re.compile(r"[+-]?\d+\.\d\b")
Scores = dict[int, float]


@dataclass(frozen=True)
class Stored:
    """The stored results of the series that the texts use."""

    trainings: Mapping[str, Mapping[str, Any]]
    photographs: Mapping[str, Mapping[str, Any]]
    hard: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path = STORED) -> Stored:
        """Returns the results in a folder; a series without a file is empty."""
        files = [folder / f"{name}.json" for name in ("trainings", "photographs", "hard")]
        return cls(*(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {} for file in files))

    def birds(self, arm: str, group: str = NEVER, net: str = "scratch") -> Scores:
        """Returns seed -> top-1 in [0, 1] of an arm in one group of test images."""
        scores = {}
        for seed in range(5):
            result = self.trainings.get(f"{arm}-{net}-{seed}")
            while result is not None and "same_as" in result:
                result = self.trainings.get(f"{result['same_as']}-{net}-{seed}")
            if result is not None:
                scores[seed] = result["best"]["by_group"][group]
        return scores

    def hard_birds(self, arm: str, group: str = OWN) -> Scores:
        """Returns seed -> top-1 in [0, 1] of an arm in the hard world, trained from scratch."""
        found = {seed: self.hard.get(f"{arm}-scratch-{seed}") for seed in range(5)}
        return {seed: result["best"]["by_group"][group] for seed, result in found.items() if result is not None}

    def photos(self, arm: str, length: str) -> Scores:
        """Returns seed -> top-1 in [0, 1] at the learning rate with the best validation of seeds 0 and 1."""
        best: tuple[float, str] | None = None
        for rate in ("0.0002", "0.0005", "0.001"):
            pair = [self.photographs.get(f"clothing-10-lite0-{arm}-short-{rate}-{seed}") for seed in (0, 1)]
            known = [result["validation_top1"] for result in pair if result is not None]
            if len(known) == 2 and (best is None or mean(known) > best[0]):
                best = mean(known), rate
        rate = best[1] if best else "0.0005"
        names = {seed: f"clothing-10-lite0-{arm}-{length}-{rate}-{seed}" for seed in range(5)}
        return {s: self.photographs[name]["best"]["top1"] for s, name in names.items() if name in self.photographs}


def summary(scores: Scores) -> set[str]:
    """Returns mean and standard deviation as they stand in the texts."""
    if not scores:
        return set()
    spread = [f"{100 * stdev(scores.values()):.1f}"] if len(scores) > 1 else []
    return {f"{100 * mean(scores.values()):.1f}", *spread}


def gap(scores: Scores, base: Scores) -> set[str]:
    """Returns the paired difference and half the width of its 95 % interval as they stand in the texts."""
    seeds = sorted(scores.keys() & base.keys())
    if not seeds:
        return set()
    gaps = [scores[seed] - base[seed] for seed in seeds]
    written = {f"{100 * mean(gaps):+.1f}"}
    if len(gaps) > 1:
        written.add(f"{100 * (T975[len(gaps) - 1] * stdev(gaps) / math.sqrt(len(gaps))):.1f}")
    return written


def numbers_of_readme(stored: Stored) -> set[str]:
    """Returns every number that may stand in the results of the README."""
    scratch = ("plain", "heavy", "gamma-2.all", "gamma-2.context_free", "gamma-2.mean", "no-context.all",
               "mix-own-100", "extra-all")  # fmt: skip
    tuned = ("plain", "gamma-2.all", "gamma-2.context_free", "gamma-2.mean", "no-context.all", "mix-own-100")
    series = [stored.birds(arm, group) for arm in scratch for group in (NEVER, PROMPTED)]
    series += [stored.birds(arm, NEVER, "tuned") for arm in tuned]
    longer = [stored.birds(arm, NEVER, "longer") for arm in ("mix-own-100", "genaug-own")]
    filtered = [stored.birds(f"random-species.{keep}") for keep in ("context_free", "all")]
    photos = [stored.photos(arm, length) for arm in PHOTO_ARMS for length in ("short", "long")]
    return set().union(*map(summary, [*series, *longer, *filtered, *photos]), gap(*longer), gap(*filtered))


PHOTO_ARMS = ("plain", "genaug", "pixel", "patch", "mix")


def numbers_of_advice(stored: Stored) -> list[set[str]]:
    """Returns the numbers of each row of the first section's table, from top to bottom."""
    rows = []
    for length in ("short", "long"):
        plain, genaug, mixed = (stored.photos(arm, length) for arm in ("plain", "genaug", "mix"))
        rows += [gap(genaug, plain), gap(mixed, genaug)]
    everything = stored.birds("gamma-2.all")
    tuned = stored.birds("gamma-2.all", net="tuned")
    return [
        *rows,
        gap(stored.hard_birds("genaug"), stored.hard_birds("plain")),
        gap(stored.hard_birds("mix"), stored.hard_birds("genaug")),
        gap(everything, stored.birds("plain")),
        gap(stored.birds("mix-own-100"), stored.birds("genaug-own")),
        gap(tuned, stored.birds("plain", net="tuned")),
        gap(stored.birds("mix-class", net="tuned"), tuned),
        gap(stored.birds("gamma-2.context_free"), everything),
        gap(stored.birds("random-species.context_free"), stored.birds("random-species.all")),
    ]


def results_part(readme: str) -> str:
    """Returns the part of the README about measured results."""
    return readme.split("## Measured results")[1].split("\n## ")[0]


def advice_rows(page: str) -> list[str]:
    """Returns the rows of the first section's table."""
    section = page.split("## What to do, by case")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def differing(text: str, expected: Iterable[str]) -> set[str]:
    """Returns the numbers with one decimal in a text that are not expected; a sign may be left out in the text."""
    known = {sign + number.lstrip("+-") for number in expected for sign in ("", number[0] if number[0] in "+-" else "")}
    return {number for number in NUMBER.findall(text) if number not in known}


def faults(stored: Stored, readme: str, page: str) -> list[str]:
    """Returns a line for each number that differs, and for each row that lacks a number."""
    wrong = [f"README: {number}" for number in sorted(differing(results_part(readme), numbers_of_readme(stored)))]
    for row, expected in zip(advice_rows(page), numbers_of_advice(stored), strict=True):
        found = set(NUMBER.findall(row.replace("30 %", "")))
        if found != expected:
            wrong.append(f"results.md: {sorted(found)} in place of {sorted(expected)} in the row {row}")
    return wrong


def main() -> int:
    """Prints the numbers that differ."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md")]
    wrong = faults(Stored.read(), *texts)
    print("\n".join(wrong) or "every number in the texts equals the recomputed number")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
