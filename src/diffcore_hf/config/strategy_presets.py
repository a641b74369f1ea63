"""Presets of published methods that generate images in another way: `preset: real-guidance`.

Owns the values with their sources. A preset sets keys of several sections. The strategies are in generation/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StrategyPreset:
    """The values of one published method."""

    method: str
    """Name of the method and its paper."""
    source: str
    """Where the values come from, and which are our choice."""
    values: Mapping[str, Any]
    """Keys of a recipe, as a layer below the file and the flags."""


STRATEGY_PRESETS: Mapping[str, StrategyPreset] = {
    "real-guidance": StrategyPreset(
        "Real-Guidance (He et al. 2023, arXiv:2210.07574)",
        "strength: 15 of 100 steps for 16 images a class in the paper, and 0.15 in SaSPA's Stable Diffusion version; "
        "guidance 3 (gamma 2), the prompt without a context, no negative prompt and the filter: the paper; 50 steps: "
        "the default of Stable Diffusion in diffusers",
        {
            "strategy": {"name": "image_to_image", "options": {"strength": 0.15}},
            "prompts": {"contexts": [""], "negatives": []},
            "model": {"gamma": 2.0, "steps": 50},
            "filter": {"policy": {"name": "text_softmax"}},
        },
    ),
    "diff-mix": StrategyPreset(
        "Diff-Mix (Wang et al. 2024, arXiv:2403.19600)",
        "strength, 25 steps of DPM-Solver++, guidance 7.5 (gamma 6.5), five images for each photograph, and target "
        "classes that may be the row's own: the paper and its code; gamma_label: its training script, and the paper "
        "calls 0.5 safe; class names in place of learned tokens, and the filter: our choice",
        {
            "strategy": {
                "name": "inter_class",
                "targets": "any",
                "gamma_label": 0.8,
                "options": {"strength": 0.7},
            },
            "prompts": {"contexts": [""], "negatives": []},
            "model": {"gamma": 6.5, "steps": 25, "scheduler": {"name": "DPMSolverMultistepScheduler"}},
            "copies": 5,
        },
    ),
}
"""Name of a preset -> its values."""


def preset_values() -> dict[str, dict[str, Any]]:
    """Return the values of every preset by its name."""
    return {name: dict(preset.values) for name, preset in STRATEGY_PRESETS.items()}


def method_of(recipe: Mapping[str, Any]) -> StrategyPreset | None:
    """Return the preset whose strategy and options a recorded recipe has; None if there is none.

    Args:
        recipe: a recipe as plain values. Options that a preset does not name have their defaults or any other value.
    """
    strategy = recipe.get("strategy") or {}
    options = strategy.get("options") or {}
    for preset in STRATEGY_PRESETS.values():
        wanted = dict(preset.values["strategy"])
        wanted_options = wanted.pop("options", {})
        if wanted.items() <= strategy.items() and wanted_options.items() <= options.items():
            return preset
    return None
