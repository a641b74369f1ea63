"""Descriptions of strategies and of their sources, for the readers of a card. Owns only the texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from diffcore_hf.config.strategy_presets import method_of


class StrategyWords(NamedTuple):
    """The texts about a strategy."""

    rule: str
    """How an image was made; "" for a strategy of a user."""
    options: str
    """The options with their values; "" if there are none."""
    source: str
    """The publication of the method; "" if it is not known."""


_RULES = {
    "image_to_image": (
        "Noise was added to the real image of the row, and the prompt guided the removal of the noise. The strength is "
        "the share of the denoising steps that were computed.",
        "SDEdit (Meng et al. 2022, arXiv:2108.01073)",
    ),
    "inter_class": (
        "Noise was added to the real image of the row, and a prompt of another class guided the removal of the noise. "
        "The class was drawn by the seed. The strength is the share of the denoising steps that were computed.",
        "Diff-Mix (Wang et al. 2024, arXiv:2403.19600)",
    ),
    "edit": (
        "An editing model changed the real image of the row. The prompt is the instruction, and its context is the "
        "style.",
        "InstructPix2Pix (Brooks et al. 2023, arXiv:2211.09800) or the card of the model",
    ),
    "learned_tokens": (
        "For each class, the embedding of a new token was learned from its references. The prompt names the class by "
        "this token: <c17> for the class with index 17. With a strength, "
        "noise was added to the real image of the row, and the prompt guided the removal of the noise.",
        "textual inversion (Gal et al. 2022, arXiv:2208.01618)",
    ),
    "structure": (
        "A ControlNet guided the image by the structure of the real image of the row: its Canny edges, or the image of "
        "a column such as a depth map. With an IP-Adapter, another real image of the class guided the appearance.",
        "ControlNet (Zhang et al. 2023, arXiv:2302.05543), used for augmentation by SaSPA (Michaeli and Fried 2024, "
        "arXiv:2406.14551)",
    ),
}
"""Strategy -> how an image was made, and the source of the method."""


_LORA = "A LoRA of rank {rank} on the attention layers of the model was learned together with the tokens."


def describe(recipe: Mapping[str, Any]) -> StrategyWords:
    """Describe the strategy of a recorded recipe, with the preset that has its strategy, prompts and guidance."""
    strategy = recipe.get("strategy") or {}
    rule, source = _RULES.get(strategy.get("name", ""), ("", ""))
    if (preset := method_of(recipe)) is not None:
        source = f"{source}. Strategy, prompts and guidance are those of {preset.method} ({preset.source})"
    if strategy.get("name") == "learned_tokens":
        rank = (strategy.get("options") or {}).get("lora")
        rule += f" {_LORA.format(rank=rank) if rank else 'The weights of the model were not changed.'}"
        source += "; LoRA (Hu et al. 2021, arXiv:2106.09685)" if rank else ""
    values = [f"{name} {_value(value)}" for name, value in sorted((strategy.get("options") or {}).items())]
    return StrategyWords(rule, ", ".join(values), source)


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
