"""Learned LoRA: low-rank changes of the attention layers of a UNet, which are learned together with tokens.

Hu et al. 2021 (arXiv:2106.09685): the weight W of a layer becomes W + B A, where A has r rows and B has r columns. Owns
the layers that are changed and the names of the tensors, which are those that diffusers writes. The training is in
token_training.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffcore_hf.core import seeding

LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
"""Suffixes of the names of the changed layers in each attention block."""
NAME = "learned"
"""Name of the adapter in the pipeline."""
PREFIX = "unet."
"""Prefix of the names of the tensors."""


def add_lora(pipeline: Any, rank: int, scales: Sequence[float] = ()) -> dict[str, nn.Parameter]:
    """Add a LoRA to the UNet of a pipeline. Its values are set by `first_values` or `set_values`.

    Args:
        pipeline: a pipeline with a UNet.
        rank: number of rows of A.
        scales: scale of each adapter that the recipe adds to the model; these adapters stay active.

    Returns:
        Name of each tensor, such as `unet.mid_block...to_q.lora_A.weight` -> the float32 parameter.
    """
    from peft import LoraConfig

    unet = pipeline.unet
    names = [f"adapter_{number}" for number in range(len(scales))]
    known = [
        (name, scale) for name, scale in zip(names, scales, strict=True) if name in getattr(unet, "peft_config", {})
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # adapters of the recipe stay active
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS)), NAME)
    unet.set_adapters([*(name for name, _ in known), NAME], [*(scale for _, scale in known), 1.0])
    unet.requires_grad_(False)
    parameters = {}
    for name, parameter in unet.named_parameters():
        if f".{NAME}." in name:
            parameter.data = parameter.data.float()
            parameters[PREFIX + name.replace(f".{NAME}.", ".")] = parameter
    return dict(sorted(parameters.items()))


def first_values(parameters: Mapping[str, nn.Parameter], seed: int) -> None:
    """Set A to normal values with the standard deviation 1 / r, and B to 0. So the model is not changed yet."""
    number = int.from_bytes(seeding.digest("token lora", seed)[:8], "big") >> 1
    generator = torch.Generator("cpu").manual_seed(number)
    with torch.no_grad():
        for name, parameter in parameters.items():
            values = torch.zeros(parameter.shape)
            if ".lora_A." in name:
                values = torch.randn(parameter.shape, generator=generator) / parameter.shape[0]
            parameter.copy_(values)


def set_values(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Set the parameters to the stored values.

    Raises:
        ValueError: the names or shapes are those of another model.
    """
    if {name: each.shape for name, each in parameters.items()} != {name: each.shape for name, each in values.items()}:
        raise ValueError("the learned LoRA belongs to another model")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])


def rank_of(values: Mapping[str, Tensor]) -> int:
    """Return the number of rows of A."""
    return next(int(values[name].shape[0]) for name in values if ".lora_A." in name)
