"""Trainings with the mixers of the package in the miniature world, from scratch and fine-tuned.

Owns the arms and their cells. An arm trains on the real images alone, with the default options of its mixer. The arms
`plain`, and from scratch also `mixup` and `cutmix`, are cells of trainings.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evidence import trainings
from benchmarks.evidence.cells import SEEDS, Cell
from benchmarks.evidence.series import BySeed, Results
from benchmarks.evidence.worlds import EACH, world_folder
from diffcore_hf.training.mixers.names import MIXERS

SERIES = "mixers"
NETS = ("scratch", "tuned")
PLAIN_VIT = "plain-vit"
_VIT = {"model": {"name": "vit_tiny_patch16_224", "pretrained": False}}
_SCENERY = {"pictures": "diffcore_hf.miniature.scenery:mixing_picture"}


@dataclass(frozen=True)
class MixerArm:
    """A mixer, or the same training without a mixer."""

    words: str
    """Label of its row."""
    mixer: str | None
    cost: float = 1.0
    """Estimate of its time as a multiple of the time without a mixer."""
    options: dict[str, Any] | None = None
    keys: dict[str, Any] | None = None
    """More keys of the training recipe."""
    base: str | None = "plain"
    """The arm with which it is compared; None: other arms are compared with it."""
    nets: tuple[str, ...] = NETS

    @property
    def train(self) -> dict[str, Any]:
        """Returns the keys of the training recipe."""
        mixer = {} if self.mixer is None else {"mixer": {"name": self.mixer, "options": self.options}}
        return {"mix": {"mode": "off"}, **mixer, **(self.keys or {})}


ARMS: dict[str, MixerArm] = {
    "mixup": MixerArm("Mixup", "mixup"),
    "cutmix": MixerArm("CutMix", "cutmix"),
    "manifold_mixup": MixerArm("Manifold Mixup", "manifold_mixup"),
    "resizemix": MixerArm("ResizeMix", "resizemix"),
    "smoothmix": MixerArm("SmoothMix", "smoothmix"),
    "saliencymix": MixerArm("SaliencyMix", "saliencymix", 1.1),
    "guidedmixup_sr": MixerArm("GuidedMixup-SR", "guidedmixup_sr", 1.1),
    "augmix": MixerArm("AugMix", "augmix", 1.5),
    "pixmix": MixerArm("PixMix with fractals", "pixmix", 1.5),
    "pixmix-scenery": MixerArm("PixMix with scenes of all contexts", "pixmix", 1.5, _SCENERY),
    "snapmix": MixerArm("SnapMix", "snapmix", 1.4),
    "attentive_cutmix": MixerArm("Attentive-CutMix", "attentive_cutmix", 1.4),
    "guidedmixup_ap": MixerArm("GuidedMixup-AP", "guidedmixup_ap", 2),
    "puzzlemix": MixerArm("PuzzleMix", "puzzlemix", 2.5),
    "comixup": MixerArm("Co-Mixup", "comixup", 4),
    "automix": MixerArm("AutoMix", "automix", 4),
    "samix": MixerArm("SAMix", "samix", 4),
    PLAIN_VIT: MixerArm("real images alone, in a ViT", None, 2, keys=_VIT, base=None, nets=("scratch",)),
    "transmix": MixerArm("TransMix, in a ViT", "transmix", 2, keys=_VIT, base=PLAIN_VIT, nets=("scratch",)),
}
"""Arms in the order of the tables. The miniature world has no pretrained ViT."""
assert {arm.mixer for arm in ARMS.values()} == {*MIXERS, None}


def arms(net: str) -> list[str]:
    """Returns the arms that are trained with a network."""
    return [name for name, arm in ARMS.items() if net in arm.nets]


def cells(seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    """Returns the cells, seed by seed."""
    return [
        Cell(f"{SERIES}/{name}-{net}-{seed}", round(ARMS[name].cost * trainings.SECONDS[net]),
             partial(measure, name=name, net=net, seed=seed))
        for name, net, seed in _planned(seeds)
    ]  # fmt: skip


def _planned(seeds: tuple[int, ...]) -> Iterator[tuple[str, str, int]]:
    for seed in seeds:
        for net in NETS:
            for name in arms(net):
                if not _is_training(name, net):
                    yield name, net, seed


def _is_training(name: str, net: str) -> bool:
    """Returns whether an arm is a cell of trainings.py."""
    return name in trainings.ARMS and net in trainings.nets(name)


def measure(work: Path, name: str, net: str, seed: int) -> dict[str, Any]:
    """Trains one arm and returns its scores."""
    place = work / SERIES / f"{name}-{net}-{seed}"
    result = trainings.trained(world_folder(work, seed), trainings.NETS[net], ARMS[name].train, seed, place)
    shutil.rmtree(place)
    return {"real": 20 * EACH, **result}


def accuracy(results: Results, name: str, net: str, group: str) -> BySeed:
    """Returns seed -> top-1 of the model with the best validation score, on a group of the test images."""
    if _is_training(name, net):
        return results.accuracy(name, net, group)
    return results.of_mixer(name, net, group)
