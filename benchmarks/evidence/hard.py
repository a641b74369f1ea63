"""Trainings in the hard world, scored on test images in the contexts of the training images and in other contexts.

Owns the arms, their generated images, and their order. In the worlds of the other sections, all arms classify the test
images in their own contexts without an error, so those sections measure the shift to other contexts alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evidence import folders, trainings
from benchmarks.evidence.cells import SEEDS, Cell
from benchmarks.evidence.folders import BEST
from benchmarks.evidence.hard_world import LEVELS, hard_folder
from benchmarks.evidence.worlds import EACH

SERIES = "hard"
NETS = ("scratch", "tuned")
REAL = "real"
"""Name of the counterparts that are other real images of the species in its own contexts."""
GENERATORS: dict[str, dict[str, Any]] = {
    "six": {},
    "own": {"prompts": {"template": "a photo of a {label}, a {kind}, {scene}", "contexts": [""]}},
    "none": {"prompts": {"contexts": [""]}},
    "changed": {
        "strategy": {"name": "image_to_image", "options": {"strength": 0.5}},
        "prompts": {"template": "a photo of a {label}, a {kind}, {scene}", "contexts": [""]},
    },
}
"""Name -> keys that differ from the shipped recipe of the miniature. Each real image has one counterpart."""
_ONE_COPY = {"copies": 1}
FOLDER_SECONDS = 50
SEARCH_SEED = 100
"""Seed with which the difficulty was chosen. No table of arms has this seed."""


def _mix(kind: str) -> dict[str, Any]:
    return {"mix": {"mode": "append", "kind": kind, "partner": "own"}}


@dataclass(frozen=True)
class HardArm:
    """The images that an arm trains on, and its training recipe."""

    words: str
    """Label of its row."""
    base: str | None
    """The arm with which it is compared; None: it is compared with no arm."""
    train: Mapping[str, Any]
    """Keys of the training recipe."""
    images: str | None = None
    """Name of the counterparts: a key of GENERATORS, or REAL; None for real images alone."""
    keep: str = "all"
    """Counterparts that are kept: name of a policy, or `oracle` (folders.chosen)."""
    nets: tuple[str, ...] = ("scratch",)


_KINDS = {"pixel": "mixed pixel-wise", "patch": "mixed patch-wise", "mix": "mixed pixel-wise or patch-wise"}
_MODES = {"genaug": "none", "pixel": "pixel", "patch": "patch", "mix": "both"}
ARMS: dict[str, HardArm] = {
    "plain": HardArm("real images alone", None, trainings.PLAIN, nets=NETS),
    "genaug": HardArm("generated images, six contexts, not mixed", "plain", _mix("none"), "six", nets=NETS),
    **{
        name: HardArm(f"generated images, six contexts, {words}", "genaug", _mix(_MODES[name]), "six",
                      nets=NETS if name == "mix" else ("scratch",))
        for name, words in _KINDS.items()
    },
    "real-genaug": HardArm("other real images, not mixed", "plain", _mix("none"), REAL, nets=NETS),
    **{
        f"real-{name}": HardArm(f"other real images, {words}", "real-genaug", _mix(_MODES[name]), REAL,
                                nets=NETS if name == "mix" else ("scratch",))
        for name, words in _KINDS.items()
    },
    "own-genaug": HardArm("generated images, the real image's own context, not mixed", "plain", _mix("none"), "own"),
    "own-mix": HardArm("generated images, the real image's own context, mixed pixel-wise or patch-wise", "own-genaug",
                       _mix("both"), "own"),
    "none-genaug": HardArm("generated images, no context in the prompt, not mixed", "plain", _mix("none"), "none"),
    "changed-genaug": HardArm("real images changed by the generator (image_to_image, strength 0.5), not mixed", "plain",
                              _mix("none"), "changed"),
    "genaug-filter": HardArm("generated images, six contexts, kept by the default filter", "genaug", _mix("none"),
                             "six", BEST),
    "genaug-oracle": HardArm("generated images, six contexts, with the right species", "genaug", _mix("none"), "six",
                             "oracle"),
    "heavy": HardArm("real images with RandAugment 9, colour jitter 0.4, blur 0.2 and random erasing 0.25", "plain",
                     trainings.ARMS["heavy"].train),
    "mixup": HardArm("real images with Mixup", "plain", trainings.ARMS["mixup"].train),
    "cutmix": HardArm("real images with CutMix", "plain", trainings.ARMS["cutmix"].train),
}  # fmt: skip
"""Arms in the order of the table."""
DECIDING = ("plain", "genaug", "pixel", "patch", "mix")
"""Arms that are measured with every seed before the other arms."""


def cells(seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    """Returns the cells: the deciding arms seed by seed, then the levels of difficulty, then the other arms."""
    found = [_arm_cell(name, net, seed) for name, net, seed in _planned(seeds)]
    decided = sum(1 for name, _, _ in _planned(seeds) if name in DECIDING)
    levels = [
        Cell(f"{SERIES}/level_{level}-scratch-{SEARCH_SEED}", trainings.SECONDS["scratch"],
             partial(measure_level, level=level))
        for level in LEVELS
    ]  # fmt: skip
    return [*found[:decided], *levels, *found[decided:]]


def _planned(seeds: tuple[int, ...]) -> Iterator[tuple[str, str, int]]:
    for is_deciding in (True, False):
        for seed in seeds:
            for name, arm in ARMS.items():
                if (name in DECIDING) == is_deciding:
                    yield from ((name, net, seed) for net in arm.nets)


def _arm_cell(name: str, net: str, seed: int) -> Cell:
    first_of_its_images = next((key for key, arm in ARMS.items() if arm.images == ARMS[name].images), None)
    generating = FOLDER_SECONDS if name == first_of_its_images and ARMS[name].images in GENERATORS else 0
    seconds = trainings.SECONDS[net] + (generating if net == NETS[0] else 0)
    return Cell(f"{SERIES}/{name}-{net}-{seed}", seconds, partial(measure, name=name, net=net, seed=seed))


def made(work: Path, images: str, seed: int) -> Path:
    """Returns the folder of one generated counterpart for each training image of the hard world."""
    folder = work / "made" / f"hard-{images}-{seed}"
    return folders.augmented(folder, hard_folder(work, seed), seed, _ONE_COPY, GENERATORS[images])


def measure(work: Path, name: str, net: str, seed: int) -> dict[str, Any]:
    """Trains one arm and returns its scores."""
    arm = ARMS[name]
    place = work / SERIES / f"{name}-{net}-{seed}"
    fact: dict[str, Any] = {"real": 20 * EACH, "kept": 0}
    if arm.images in GENERATORS:
        folder = made(work, arm.images, seed)
        keep = folders.chosen(folder, arm.keep)
        if not keep:
            return fact | {"same_as": "plain"}
        shown = folders.truth(folder)
        fact |= {"kept": len(keep), "right": sum(shown[unit].kind == "right" for unit in keep)}
        data = folders.exported(folder, place / "data", keep)
    else:
        data = hard_folder(work, seed, counterparts=arm.images == REAL)
        fact["kept"] = 20 * EACH if arm.images == REAL else 0
    fact |= trainings.trained(data, trainings.NETS[net], arm.train, seed, place / "training")
    shutil.rmtree(place)
    return fact


def measure_level(work: Path, level: str) -> dict[str, Any]:
    """Trains real images alone in a world of another difficulty, with a seed that no table of arms has."""
    place = work / SERIES / f"level-{level}"
    data = hard_folder(work, SEARCH_SEED, difficulty=LEVELS[level])
    result = trainings.trained(data, trainings.NETS["scratch"], trainings.PLAIN, SEARCH_SEED, place)
    shutil.rmtree(place)
    return {"real": 20 * EACH, "kept": 0, **result}
