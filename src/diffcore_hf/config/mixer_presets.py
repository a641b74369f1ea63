"""Hyper-parameters of the mixers by dataset, as the papers and their code have them.

Owns the values with their sources. The methods are in training/mixers/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from diffcore_hf.config.train import MixerConfig
from diffcore_hf.core.errors import UserError


@dataclass(frozen=True)
class MixerPreset:
    """Hyper-parameters of one mixer for one dataset."""

    source: str
    """Where the values come from."""
    probability: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


_FINE_GRAINED = ("cub", "cars", "caltech", "flowers")


def _fine_grained(preset: MixerPreset) -> dict[str, MixerPreset]:
    """Return the preset under the names of the fine-grained datasets, which have the same values."""
    return dict.fromkeys(_FINE_GRAINED, preset)


PRESETS: Mapping[str, Mapping[str, MixerPreset]] = {
    "mixup": {
        "cifar": MixerPreset("Zhang et al. 2018, section 3.2", options={"alpha": 1.0}),
        "tiny": MixerPreset("PuzzleMix (Kim et al. 2020), Tiny-ImageNet", options={"alpha": 0.2}),
        "imagenet": MixerPreset("Zhang et al. 2018, section 3.1", options={"alpha": 0.2}),
        **_fine_grained(MixerPreset("GuidedMixup's code, fine-grained data", options={"alpha": 1.0})),
    },
    "cutmix": {
        "cifar": MixerPreset("CutMix's code, CIFAR", 0.5, {"alpha": 1.0}),
        "imagenet": MixerPreset("CutMix's code, ImageNet", 1.0, {"alpha": 1.0}),
        **_fine_grained(MixerPreset("GuidedMixup's code, fine-grained data", 1.0, {"alpha": 1.0})),
    },
    "manifold_mixup": {
        "cifar": MixerPreset("Verma et al. 2019, CIFAR", options={"alpha": 2.0}),
        "tiny": MixerPreset("PuzzleMix (Kim et al. 2020), Tiny-ImageNet", options={"alpha": 0.2}),
    },
    "augmix": {
        "cifar": MixerPreset("AugMix's code, CIFAR", options={"severity": 3}),
        "imagenet": MixerPreset("AugMix's code, ImageNet", options={"severity": 1}),
    },
    "pixmix": {
        "cifar": MixerPreset("PixMix's code, CIFAR", options={"rounds": 4, "beta": 3.0, "severity": 3}),
        "imagenet": MixerPreset("PixMix's code, ImageNet", options={"rounds": 4, "beta": 4.0, "severity": 1}),
    },
    "resizemix": {
        "cifar": MixerPreset("Qin et al. 2020", options={"smallest": 0.1, "largest": 0.8}),
        "imagenet": MixerPreset("Qin et al. 2020", options={"smallest": 0.1, "largest": 0.8}),
    },
    "saliencymix": {
        "cifar": MixerPreset("SaliencyMix's code, CIFAR", 0.5, {"alpha": 1.0}),
        "imagenet": MixerPreset("SaliencyMix's code, ImageNet", 1.0, {"alpha": 1.0}),
        **_fine_grained(MixerPreset("GuidedMixup's code, fine-grained data", 1.0, {"alpha": 1.0})),
    },
    "snapmix": {
        "pretrained": MixerPreset("Huang et al. 2021, pretrained weights", 1.0, {"beta": 5.0}),
        "scratch": MixerPreset("Huang et al. 2021, from scratch", 0.5, {"beta": 5.0}),
        "cub": MixerPreset("Huang et al. 2021, CUB-200 with pretrained weights", 1.0, {"beta": 5.0}),
    },
    "attentive_cutmix": {
        "cifar": MixerPreset(
            "Walawalkar et al. 2020, CIFAR: an 8 x 8 grid; the input size of the teacher is our choice",
            options={"teacher": "resnet50", "grid": 8, "cells": 6, "teacher_size": 224},
        ),
        "imagenet": MixerPreset(
            "Walawalkar et al. 2020, ImageNet", options={"teacher": "resnet50", "grid": 7, "cells": 6}
        ),
    },
    "puzzlemix": {
        "cifar": MixerPreset(
            "PuzzleMix's code, CIFAR",
            options={"alpha": 1.0, "beta": 1.2, "gamma": 0.5, "eta": 0.2, "neigh": 4, "t_size": 4, "t_eps": 0.8},
        ),
        "tiny": MixerPreset(
            "PuzzleMix's code, Tiny-ImageNet",
            options={"alpha": 1.0, "beta": 1.2, "gamma": 0.5, "eta": 0.2, "neigh": 4, "t_size": -1, "t_eps": 0.8},
        ),
        "imagenet": MixerPreset("PuzzleMix's code, ImageNet", options={"alpha": 1.0, "beta": 1.5, "neigh": 2}),
        **_fine_grained(MixerPreset("GuidedMixup's code, fine-grained data", 1.0, {"alpha": 1.0})),
    },
    "guidedmixup_ap": {
        name: MixerPreset("Kang and Kim 2023, gradient of the loss", 0.8, {"pairing": "greedy"})
        for name in ("cifar", "tiny", *_FINE_GRAINED)
    },
    "guidedmixup_sr": {
        name: MixerPreset("Kang and Kim 2023, spectral residual", 0.5, {"pairing": "greedy"})
        for name in ("cifar", "tiny", *_FINE_GRAINED)
    },
    "comixup": {
        name: MixerPreset(
            "Kim et al. 2021, CIFAR-100 and Tiny-ImageNet",
            options={"alpha": 2.0, "beta": 0.32, "gamma": 1.0, "eta": 0.05, "omega": 0.001},
        )
        for name in ("cifar", "tiny")
    },
    "transmix": {
        "imagenet": MixerPreset("TransMix's code, ImageNet", options={"alpha": 1.0, "mixup_alpha": 0.8, "switch": 0.8}),
    },
    **{
        mixer: {
            "cifar": MixerPreset("OpenMixup's code, CIFAR", options={"alpha": 2.0, "lr": 0.05}),
            "cub": MixerPreset("OpenMixup's code, CUB-200", options={"alpha": 2.0, "lr": 0.01}),
        }
        for mixer in ("automix", "samix")
    },
}
"""Mixer -> dataset -> values. SmoothMix and some pairs are missing, because no source of their values is known."""


def check_preset(config: MixerConfig) -> None:
    """Check that the mixer has the preset.

    Raises:
        UserError: the mixer has no such preset.
    """
    known = PRESETS.get(config.name or "", {})
    if config.preset is None or config.preset in known:
        return
    if config.name is None:
        raise UserError(f"mixer.preset is {config.preset!r}, but no mixer is named. Use e.g. --mixer.name mixup")
    if not known:
        remedy = f"Omit it, or use a mixer that has presets: {', '.join(PRESETS)}"
    else:
        remedy = f"Its presets: {', '.join(known)}. Use e.g. --mixer.preset {next(iter(known))}"
    raise UserError(f"mixer.preset is {config.preset!r}, which {config.name} does not have. {remedy}")


def resolved(config: MixerConfig) -> MixerConfig:
    """Return the section with the values of its preset and with the default probability; the preset itself is removed.

    Values of the section override those of the preset, option by option.
    """
    check_preset(config)
    preset = PRESETS[config.name or ""][config.preset] if config.preset else MixerPreset("")
    options = dict(preset.options) | dict(config.options or {})
    probability = preset.probability if config.probability is None else config.probability
    return replace(config, preset=None, probability=probability, options=options or config.options)
