"""Trainings with the images of several strategies, ways of use and filters, in the miniature world.

Owns the strategies with their options, the ways of use, the numbers of images at equal cost, and the order of the
cells. The images of a strategy are generated once for each seed, and all trainings of this seed use them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.evidence import folders, trainings
from benchmarks.evidence.cells import SEEDS, Cell
from benchmarks.evidence.folders import BEST
from benchmarks.evidence.worlds import EACH, locked, world_folder
from diffcore_hf.core.seeding import generator
from diffcore_hf.miniature.world import PROMPTED_CONTEXTS

SERIES = "strategies"
NET = "scratch"
CLASSES = 20
IMAGES = 480
"""Number of generated images at equal numbers."""
_ROW = {"template": "a photo of a {label}, a {kind}, {context_of_row}", "contexts": [""]}
_HALF = {"template": "a photo of a {label}, a {kind}, {context_of_half}", "contexts": [""]}


@dataclass(frozen=True)
class Source:
    """A way to generate images."""

    words: str
    """Label of its row."""
    layer: Mapping[str, Any] = field(default_factory=dict)
    """Keys that differ from the shipped recipe of the miniature."""
    copies: int = 2
    seconds: int = 100
    """Estimate of the time for all images on one core."""


def _changing(name: str) -> dict[str, Any]:
    return {"strategy": {"name": name, "options": {"strength": 0.7}}}


SOURCES: dict[str, Source] = {
    "named": Source("`text_to_image`, six contexts, another one for each copy"),
    "none": Source("`text_to_image`, no context named", {"prompts": {"contexts": [""]}}),
    "changed": Source("`image_to_image`, strength 0.7, six contexts", _changing("image_to_image"), 3),
    "inter": Source("`inter_class`, strength 0.7, six contexts", _changing("inter_class"), 3),
    "learned": Source(
        "`learned_tokens`, six contexts, no class name known",
        {"strategy": {"name": "learned_tokens",
                      "options": {"steps": 600, "batch": 8, "rate": 0.01, "initial": "bird"}}},
        2, 340,
    ),
    "half": Source("`text_to_image`, no context named for half of the rows", {"prompts": _HALF}),
    "listed": Source(
        "`text_to_image`, no context as one of seven", {"prompts": {"contexts": ["", *PROMPTED_CONTEXTS]}}
    ),
    "row": Source("`text_to_image`, six contexts, the same one for each copy of a row", {"prompts": _ROW}),
}  # fmt: skip
"""Sources in the order of the table."""
STRATEGIES = ("named", "none", "changed", "inter", "learned")
"""Sources that are measured with all ways of use and with the filter. The others differ only in their contexts."""

WAYS: dict[str, dict[str, Any]] = {
    "append": {"mode": "append", "kind": "none", "partner": "class"},
    "replace": {"mode": "replace", "kind": "none", "partner": "class", "probability": 1.0},
    "own": {"mode": "replace", "kind": "none", "partner": "own_copies", "probability": 0.5},
    "any": {"mode": "replace", "kind": "none", "partner": "any", "probability": 0.3},
}
WAY_WORDS = {
    "append": "`append`: real images and one image of the class for each",
    "replace": "`replace`, 1: an image of the class for each real image",
    "own": "`replace`, 0.5, `own_copies`: half of the real images by their own",
    "any": "`replace`, 0.3, `any`: three of ten real images by any image",
}
COST = "cost"
"""Name of the way of an arm at equal cost. It is `append` with other numbers of images."""


@dataclass(frozen=True)
class StrategyArm:
    """A source, a way of use, and the images that are kept."""

    source: str
    way: str
    keep: str = "all"

    @property
    def name(self) -> str:
        """Returns the name of its cells without the seed."""
        return f"{self.source}.{self.way}.{self.keep}"


def tiers() -> list[list[StrategyArm]]:
    """Returns the arms in two groups: those that decide between the sources, and the other ways to use the images.

    The first group has every source with `append`, then equal cost, then the filter with `append`.
    """
    others = [way for way in WAYS if way != "append"]
    deciding = [
        *(StrategyArm(source, "append") for source in SOURCES),
        *(StrategyArm(source, COST) for source in STRATEGIES if images_at_equal_cost(source) != IMAGES),
        *(StrategyArm(source, "append", BEST) for source in STRATEGIES),
    ]
    return [
        deciding,
        [StrategyArm(source, way, keep) for keep in ("all", BEST) for way in others for source in STRATEGIES],
    ]


def cells(seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    """Returns the cells: group by group, and seed by seed in each group."""
    return [
        Cell(f"{SERIES}/{arm.name}-{NET}-{seed}", _seconds(arm), partial(measure, arm=arm, seed=seed))
        for arm, seed in _planned(seeds)
    ]


def _planned(seeds: tuple[int, ...]) -> Iterator[tuple[StrategyArm, int]]:
    for group in tiers():
        for seed in seeds:
            yield from ((arm, seed) for arm in group)


def _seconds(arm: StrategyArm) -> int:
    """Returns the estimate of a cell. The first arm of a source also generates its images."""
    generates = arm == StrategyArm(arm.source, "append")
    return trainings.SECONDS[NET] + (SOURCES[arm.source].seconds if generates else 0)


@cache
def evaluations(source: str) -> tuple[float, float]:
    """Returns how many evaluations of the denoising network one image takes, and how many the preparation takes."""
    from diffcore_hf.generation.base import make_strategy

    recipe = folders.recipe_of(Path("out"), Path("birds"), 0, SOURCES[source].layer)
    strategy = make_strategy(recipe.strategy, recipe.model)
    return strategy.evaluations({}) or 0.0, strategy.preparation_evaluations(CLASSES) or 0.0


def images_at_equal_cost(source: str) -> int:
    """Returns how many images of a source take as many evaluations as IMAGES images of `named`, preparation included.

    It is at most the number of images that are generated.
    """
    budget = IMAGES * evaluations("named")[0]
    each, preparation = evaluations(source)
    return max(0, min(int((budget - preparation) / each), CLASSES * EACH * SOURCES[source].copies))


def source_folder(work: Path, seed: int) -> Path:
    """Returns the world of a seed with two more columns: a context for each row, and one for half of the rows."""
    from datasets import load_dataset

    birds = world_folder(work, seed)
    folder = birds.with_name(f"{birds.name}-contexts")
    with locked(folder):
        if not folder.is_dir():
            beside = folder.with_name(f".{folder.name}")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for split, rows in load_dataset(str(birds)).items():
                random = generator("evidence", "contexts", seed, split)
                drawn = [PROMPTED_CONTEXTS[random.integers(len(PROMPTED_CONTEXTS))] for _ in range(len(rows))]
                halves = [context if random.random() < 0.5 else "" for context in drawn]
                rows = rows.add_column("context_of_row", drawn).add_column("context_of_half", halves)
                rows.to_parquet(beside / f"{split}.parquet")
            os.replace(beside, folder)
    return folder


def made(work: Path, source: str, seed: int) -> Path:
    """Returns the folder of the images of a source."""
    birds = source_folder(work, seed)
    layer = {"copies": SOURCES[source].copies}
    return folders.augmented(work / "made" / f"strategy-{source}-{seed}", birds, seed, layer, SOURCES[source].layer)


def measure(work: Path, arm: StrategyArm, seed: int) -> dict[str, Any]:
    """Trains one arm and returns its scores, with the numbers of its images and of their evaluations."""
    folder = made(work, arm.source, seed)
    shown = folders.truth(folder)
    each, preparation = evaluations(arm.source)
    most = images_at_equal_cost(arm.source) if arm.way == COST else IMAGES
    units = folders.chosen(folder, "all")[:most]
    accepted = set(folders.chosen(folder, arm.keep))
    keep = [unit for unit in units if unit in accepted]
    fact: dict[str, Any] = {
        "real": CLASSES * EACH,
        "generated": len(units),
        "evaluations": len(units) * each + preparation,
        "kept": len(keep),
        "right": sum(shown[unit].kind == "right" for unit in keep),
    }
    if len(keep) == len(units) and arm.keep != "all":
        return fact | {"same_as": StrategyArm(arm.source, arm.way).name}
    place = work / SERIES / f"{arm.name}-{NET}-{seed}"
    way = "append" if arm.way == COST else arm.way
    if keep:
        data = folders.exported(folder, place / "data", keep)
        fact |= trainings.trained(data, trainings.NETS[NET], {"mix": WAYS[way]}, seed, place / "training")
    else:
        birds = world_folder(work, seed)
        fact |= trainings.trained(birds, trainings.NETS[NET], trainings.PLAIN, seed, place / "training")
    shutil.rmtree(place)
    return fact
