"""Presets of published methods that use another strategy than text_to_image, such as `preset: real-guidance`.

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
    """Each value with its source, as `value: source`; some values are our choice."""
    values: Mapping[str, Any]
    """Keys of a recipe, as a layer below the file and the flags."""


STRATEGY_PRESETS: Mapping[str, StrategyPreset] = {
    "real-guidance": StrategyPreset(
        "Real-Guidance (He et al. 2023, arXiv:2210.07574)",
        "strength 0.15: the paper (15 of 100 steps, for 16 images a class) and SaSPA's Stable Diffusion version; "
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
    "diffusemix": StrategyPreset(
        "DiffuseMix (Islam et al. 2024, arXiv:2405.14881), without its mixing",
        "guidance 4 (gamma 3) and 256 pixels: the paper's code; image guidance 1.5 and 100 steps: the defaults of "
        "InstructPix2Pix in diffusers; nine styles: the paper; the wording of the instruction: our choice",
        {
            "strategy": {"name": "edit", "options": {"image_guidance": 1.5}},
            "prompts": {
                "template": "turn this photo of a {label} into {context}",
                "contexts": [
                    "an autumn scene",
                    "a snowy scene",
                    "a sunset scene",
                    "a scene with a rainbow",
                    "a scene with an aurora",
                    "watercolor art",
                    "a mosaic",
                    "an ukiyo-e print",
                    "a crayon sketch",
                ],
                "negatives": [],
            },
            "model": {"gamma": 3.0, "steps": 100, "size": 256},
        },
    ),
    "da-fusion": StrategyPreset(
        "DA-Fusion (Trabucco et al. 2024, arXiv:2302.07944)",
        "1,000 steps of 4 images for each class, four strengths and policy all (no filter): the paper; learning rate "
        "0.002: the code, 5e-4 times the batch; first value of a token from the word 'the', guidance 7.5 (gamma 6.5) "
        "and 50 steps: the code; one vector for a token, the prompt of a reference, and no flips: our choice",
        {
            "strategy": {
                "name": "learned_tokens",
                "options": {
                    "strength": [0.25, 0.5, 0.75, 1.0],
                    "steps": 1000,
                    "batch": 4,
                    "rate": 0.002,
                    "per": "class",
                    "initial": "the",
                },
            },
            "prompts": {"template": "a photo of a {label}", "contexts": [""], "negatives": []},
            "model": {"gamma": 6.5, "steps": 50},
            "filter": {"policy": {"name": "all"}},
        },
    ),
}
"""Name of a preset -> its values."""


def preset_values() -> dict[str, dict[str, Any]]:
    """Return the values of every preset by its name."""
    return {name: dict(preset.values) for name, preset in STRATEGY_PRESETS.items()}


def method_of(recipe: Mapping[str, Any]) -> StrategyPreset | None:
    """Return the preset whose strategy, prompts and guidance a recorded recipe has; None if there is none.

    The number of steps, the size in pixels and the policy may differ from the preset.

    Args:
        recipe: a recipe as plain values.
    """
    for preset in STRATEGY_PRESETS.values():
        wanted = {name: preset.values.get(name, {}) for name in ("strategy", "prompts")}
        wanted["model"] = {name: value for name, value in preset.values.get("model", {}).items() if name == "gamma"}
        if _contains(recipe, wanted):
            return preset
    return None


def _contains(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a mapping has all values of another one, also in nested mappings."""
    for name, value in wanted.items():
        given = values.get(name)
        if isinstance(value, Mapping):
            if value and not (isinstance(given, Mapping) and _contains(given, value)):
                return False
        elif (list(given) if isinstance(given, tuple) else given) != value:
            return False
    return True
