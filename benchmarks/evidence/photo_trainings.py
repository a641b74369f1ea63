"""Trainings on photographs: the accuracy of one arm with one learning rate, length and seed.

Owns the arms, the recipe and the choice of the learning rate. The trainer of the package trains the arms, all with the
same number of steps and samples. The learning rate of each arm is the best on the validation split over two seeds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.evidence import mixers, photo_filter
from benchmarks.evidence.cells import SEEDS, Cell
from benchmarks.evidence.photo_quality import PERFECT, QUALITIES
from benchmarks.evidence.photo_tower import NET, weights_folder
from benchmarks.evidence.photographs import EACH, measured_distance, photo_folder
from benchmarks.imagenet_weights import WEIGHTS
from diffcore_hf.training.mixers import names

SERIES = "photographs"
COUNTERPARTS = "counterparts"
"""Series of the counterparts of lower quality."""
MIXERS = "photo_mixers"
"""Series of the mixers of the package on photographs."""
FILTER = "photo_filter"
"""Series of the filter on photographs."""
QUALITY_ARMS = ("genaug", "mix")
QUALITY_SEEDS = SEEDS[:3]
DISTANCE_SECONDS = 30
RATES = (5e-4, 2e-4, 1e-3)
"""Learning rates in the order in which they are measured."""
TUNING = SEEDS[:2]
"""Seeds whose validation scores choose the learning rate."""
STEPS = {"short": 100, "long": 300}
EVALUATIONS = 6
"""Number of validations of a training. The last third of the steps is between the fourth and the sixth validation."""
SIZE = 128
SECONDS = {"short": 120, "long": 340}
"""Estimate of the time of a training on one core."""

ARMS: dict[str, dict[str, Any]] = {
    "plain": {"mix": {"mode": "off"}},
    "genaug": {"mix": {"mode": "append", "kind": "none", "partner": "own"}},
    "mix": {"mix": {"mode": "append", "kind": "both", "partner": "own"}},
    "pixel": {"mix": {"mode": "append", "kind": "pixel", "partner": "own"}},
    "patch": {"mix": {"mode": "append", "kind": "patch", "partner": "own"}},
}
"""Arms in the order in which they are measured."""
MIXER_EACH = (EACH, 30)
"""Numbers of real training images of a class in the trainings with mixers."""
MIXER_ARMS: dict[str, dict[str, Any]] = {
    "plain": ARMS["plain"],
    **{name: {"mix": {"mode": "off"}, "mixer": {"name": name}} for name in mixers.ARMS if name in names.MIXERS},
}
"""Arms that train on real images alone. TransMix is left out, because the network is no ViT."""
del MIXER_ARMS["transmix"]
_COMMON = {
    "transform": {"preset": "finetune_224", "size": SIZE},
    "schedule": {"name": "cosine", "warmup": 1.5},
    "batch_size": 32,
    "precision": "float32",
    "cache": "memory",
    "workers": 0,
    "device": "cpu",
}


@dataclass(frozen=True)
class PhotoTraining:
    """One training on photographs."""

    arm: str
    length: str
    rate: float
    seed: int
    data: str = "clothing"
    """Name of the dataset's folder."""
    each: int = EACH
    net: str = NET
    quality: str = PERFECT
    """Quality of the counterparts."""

    @property
    def series(self) -> str:
        """Returns the name of the series that the result belongs to."""
        if self.arm not in ARMS or self.each != EACH:
            return MIXERS
        return SERIES if self.quality == PERFECT else COUNTERPARTS

    @property
    def group(self) -> str:
        """Returns the name that all seeds of a training share."""
        quality = "" if self.quality == PERFECT else f"-{self.quality}"
        return f"{self.data}-{self.each}-{self.net}-{self.arm}-{self.length}-{self.rate:g}{quality}"

    @property
    def name(self) -> str:
        """Returns the name of the cell without its series."""
        return f"{self.group}-{self.seed}"


def photo_cells(data: Path, results: Mapping[str, Mapping[str, Any]]) -> list[Cell]:
    """Returns the cells that can be measured now. Cells that need the chosen learning rate appear after the choice.

    Args:
        data: folder of the datasets, such as `clothing`.
        results: results so far of the trainings in series SERIES, name of the cell without its series -> result.
    """
    deciding = [cell(training, data) for training in planned(results)]
    later = [cell(training, data) for training in planned_counterparts(results)]
    judged = [
        Cell(f"{FILTER}/clothing-{seed}", photo_filter.SECONDS,
             partial(photo_filter.measure, data=str(data / "clothing"), seed=seed))
        for seed in SEEDS
    ]  # fmt: skip
    distances = [
        Cell(f"{COUNTERPARTS}/distance-{quality}-{seed}", DISTANCE_SECONDS,
             partial(measure_distance, quality=quality, seed=seed, data=str(data)))
        for quality in QUALITIES
        for seed in QUALITY_SEEDS
        if QUALITIES[quality].keep == "all"
    ]  # fmt: skip
    short = [cell for cell in deciding if "-short-" in cell.name]
    return [*short, *judged, *distances, *(cell for cell in deciding if cell not in short), *later]


def cell(training: PhotoTraining, data: Path) -> Cell:
    """Returns the cell of a training.

    Args:
        training: the training.
        data: folder of the datasets.
    """
    run = partial(measure, training=training, data=str(data))
    cost = mixers.ARMS[training.arm].cost if training.arm in MIXER_ARMS and training.arm != "plain" else 1
    return Cell(f"{training.series}/{training.name}", round(cost * SECONDS[training.length]), run)


def planned(results: Mapping[str, Mapping[str, Any]]) -> Iterator[PhotoTraining]:
    """Yields the trainings in their order: all arms with each learning rate, then the other seeds, then more steps."""
    for rate in RATES:
        for seed in TUNING:
            for arm in ARMS:
                yield PhotoTraining(arm, "short", rate, seed)
    rates = {arm: chosen_rate(results, arm) for arm in ARMS}
    if None in rates.values():
        return
    for length, seeds in (("short", SEEDS[len(TUNING) :]), ("long", SEEDS)):
        for seed in seeds:
            for arm, rate in rates.items():
                yield PhotoTraining(arm, length, rate, seed)


def planned_counterparts(results: Mapping[str, Mapping[str, Any]]) -> Iterator[PhotoTraining]:
    """Yields the trainings with counterparts of lower quality, seed by seed, with the chosen learning rates."""
    rates = {arm: chosen_rate(results, arm) for arm in QUALITY_ARMS}
    for seed in QUALITY_SEEDS:
        for quality in QUALITIES:
            for arm, rate in rates.items():
                if rate is not None and quality != PERFECT:
                    yield PhotoTraining(arm, "short", rate, seed, quality=quality)


def measure_distance(work: Path, quality: str, seed: int, data: str) -> dict[str, Any]:
    """Measures the distance of counterparts of a quality from the real images."""
    return measured_distance(work, photo_folder(work, Path(data) / "clothing", seed, quality=quality))


def validated(results: Mapping[str, Mapping[str, Any]], arm: str, rate: float, each: int = EACH) -> float | None:
    """Returns the mean validation top-1 over the seeds in TUNING; None if one of them is not measured."""
    names = [PhotoTraining(arm, "short", rate, seed, each=each).name for seed in TUNING]
    if any(name not in results for name in names):
        return None
    return mean(results[name]["validation_top1"] for name in names)


def chosen_rate(results: Mapping[str, Mapping[str, Any]], arm: str, each: int = EACH) -> float | None:
    """Returns the rate with the best validation score; None if a rate is not measured yet.

    If several rates have the same score, the lowest one is returned.
    """
    scores = {rate: validated(results, arm, rate, each) for rate in sorted(RATES)}
    if None in scores.values():
        return None
    return max(scores, key=lambda rate: scores[rate])


def measure(work: Path, training: PhotoTraining, data: str) -> dict[str, Any]:
    """Trains one arm and scores it once."""
    folder = photo_folder(work, Path(data) / training.data, training.seed, training.each, quality=training.quality)
    output = work / "photo-trainings" / training.name
    result = trained(
        folder, weights_folder(work, training.net), training.net, (ARMS | MIXER_ARMS)[training.arm], training.rate,
        STEPS[training.length], training.seed, output,
    )  # fmt: skip
    shutil.rmtree(output)
    return {"rate": training.rate, **result}


def trained(
    data: Path,
    weights: Path,
    net: str,
    arm: Mapping[str, Any],
    rate: float,
    steps: int,
    seed: int,
    output: Path,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains an arm and returns the scores of the model with the best validation score and of the last model.

    Args:
        data: folder of columns image, generated and label.
        weights: folder of ImageNet weights.
        net: a key of imagenet_weights.WEIGHTS.
        arm: keys of the training recipe that belong to the arm.
        rate: learning rate of all layers.
        steps: number of optimiser steps.
        seed: seed of the training.
        output: folder of the training; a training that was killed is continued.
        changes: more keys of the training recipe.
    """
    from diffcore_hf.config.merging import build
    from diffcore_hf.config.train_schema import TRAIN_SCHEMA
    from diffcore_hf.training.comparison import trials
    from diffcore_hf.training.data.training_data import load_data
    from diffcore_hf.training.engine.devices import make_accelerator
    from diffcore_hf.training.engine.length import Length

    recipe = build(
        TRAIN_SCHEMA,
        {"data": {"path": str(data)}, "output": str(output), "max_steps": steps},
        {"model": {"name": WEIGHTS[net].network, "pretrained": str(weights)}},
        {"optimizer": {"name": "adamw", "lr": rate, "head_lr": None, "weight_decay": 0.05}},
        _COMMON, changes or {}, arm,
    )  # fmt: skip
    trial = trials.Trial("run", seed, recipe, output / f"seed-{seed}")
    like = Length(steps, 0, steps / EVALUATIONS)
    result = trials.train(trial, load_data(recipe.data, recipe.mix), like, make_accelerator(recipe, output),
                          progress=False)  # fmt: skip
    return {
        **{key: result[key] for key in ("steps", "epochs", "samples_seen", "best_step", "validation_top1")},
        **{kind: {key: result[kind][key] for key in ("top1", "top5", "count")} for kind in ("best", "last")},
        "validation": _validation(trial.folder / "log.jsonl"),
    }


def _validation(log: Path) -> list[list[float]]:
    """Returns pairs of step and top-1 on the validation split. If a step was repeated, its last score is used."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    scores = {record["step"]: record["validation_top1"] for record in records if "validation_top1" in record}
    return [[step, scores[step]] for step in sorted(scores)]
