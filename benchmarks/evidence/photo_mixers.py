"""Trainings with the mixers of the package on photographs, and their table.

Owns the arms, the order of the trainings and the table. photo_trainings.chosen_rate chooses the learning rate for each
pair of an arm and a number of images, as it does for the other arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.evidence.cells import SEEDS
from benchmarks.evidence.mixer_page import Row, judgement, table_of
from benchmarks.evidence.mixers import ARMS as MINIATURE
from benchmarks.evidence.photo_trainings import MIXER_ARMS, MIXER_EACH, RATES, STEPS, TUNING, PhotoTraining, chosen_rate
from benchmarks.evidence.series import BySeed, Results

_SETTING = f"""**The mixers of the package on photographs.** Each arm trains on the real photographs alone, with
{MIXER_EACH[0]} or {MIXER_EACH[1]} images of each class, and mixes them with the default options of a mixer. The
network, the number of steps ({STEPS["short"]}) and the choice of the learning rate are those of the tables above.
TransMix is left out, because it needs a ViT. A class with fewer than {2 * MIXER_EACH[1]} photographs has half of them
as training images."""


def planned(results: Mapping[str, Mapping[str, Any]]) -> Iterator[PhotoTraining]:
    """Yields the trainings that can be measured now.

    The first trainings compare the learning rates with the seeds of TUNING. When the rate of an arm is chosen, the
    trainings with this rate and the other seeds follow.

    Args:
        results: results so far of the trainings on photographs with perfect counterparts and of those with mixers.
    """
    for each in MIXER_EACH:
        arms = [arm for arm in MIXER_ARMS if (arm, each) != ("plain", MIXER_EACH[0])]
        for seed in TUNING:
            for arm in arms:
                for rate in RATES:
                    yield PhotoTraining(arm, "short", rate, seed, each=each)
        for seed in SEEDS[len(TUNING) :]:
            for arm in arms:
                if (chosen := chosen_rate(results, arm, each)) is not None:
                    yield PhotoTraining(arm, "short", chosen, seed, each=each)


def section(results: Results) -> list[str]:
    """Returns the paragraphs and the tables."""
    if not results.photo_mixers:
        return [_SETTING, "**Not measured yet.**"]
    measured = {**results.photographs, **results.photo_mixers}
    parts = [_SETTING]
    for each in MIXER_EACH:
        rows = _rows(measured, each)
        parts += [f"{each} real images of each class:", table_of(rows, ("top-1", "top-5")), judgement(rows)]
    return parts


def _rows(measured: Mapping[str, Mapping[str, Any]], each: int) -> list[Row]:
    plain = accuracy(measured, "plain", each, "top1")
    rows = []
    for arm in MIXER_ARMS:
        scores = [accuracy(measured, arm, each, key) for key in ("top1", "top5")]
        words = "real images alone" if arm == "plain" else MINIATURE[arm].words
        rows.append(Row(words, scores, None if arm == "plain" else plain))
    return rows


def accuracy(measured: Mapping[str, Mapping[str, Any]], arm: str, each: int, key: str) -> BySeed:
    """Returns seed -> accuracy of an arm with its chosen learning rate; empty if no rate is chosen yet."""
    rate = chosen_rate(measured, arm, each)
    if rate is None:
        return {}
    names = {seed: PhotoTraining(arm, "short", rate, seed, each=each).name for seed in SEEDS}
    return {seed: measured[name]["best"][key] for seed, name in names.items() if name in measured}
