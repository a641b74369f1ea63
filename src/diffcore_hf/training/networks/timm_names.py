"""Names of timm's networks, and the configuration that timm publishes for each.

Such a configuration has input size, normalisation, classifier and weights. timm calls it `pretrained_cfg`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import timm
from timm.models import PretrainedCfg, get_deprecated_models, get_pretrained_cfg

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.networks.timm_source import unknown_in_timm

FROM_SCRATCH = "train from scratch with --model.pretrained false"


def architecture_of(name: str) -> str:
    """Return the name of the network without the tag of its weights: `resnet50` for `resnet50.a1_in1k`.

    Raises:
        UserError: timm does not have the network, or does not have this tag of it.
    """
    if "/" in name or ":" in name:
        raise UserError(
            f"model.name is {name!r}, which is a location of weights, not a network. "
            f"Use e.g. --model.name resnet50 --model.pretrained {name.rpartition(':')[2]}"
        )
    architecture, _, tag = name.partition(".")
    if current := get_deprecated_models().get(name):
        raise UserError(f"model.name is {name!r}, an old name in timm. Use --model.name {current}")
    if not timm.is_model(architecture):
        raise unknown_in_timm("model.name", name, timm.list_models(), "resnet50")
    try:
        get_pretrained_cfg(name)
    except RuntimeError:  # timm has the network, but not this tag of it
        tags = [model for model in timm.list_models(architecture, include_tags=True) if model != architecture]
        nearest = difflib.get_close_matches(name.lower(), tags, n=3, cutoff=0) or [architecture]
        raise UserError(
            f"model.name is {name!r}, but timm has no tag {tag!r} of {architecture}. "
            f"The nearest names: {', '.join(nearest)}. Use e.g. --model.name {nearest[0]}"
        ) from None
    return architecture


def current_architecture(name: str) -> str:
    """Return the current name without a tag; a config.json may use an old name of the network."""
    current: str = get_deprecated_models().get(name) or name
    return current.partition(".")[0]


def timm_pretrained_cfg(name: str) -> dict[str, Any]:
    """Return timm's configuration of a network: input_size, mean, std, num_classes, ..."""
    pretrained_cfg: dict[str, Any] = (get_pretrained_cfg(name) or PretrainedCfg()).to_dict()
    return pretrained_cfg


def has_fixed_size(pretrained_cfg: Mapping[str, Any], model_args: Mapping[str, Any]) -> bool:
    """Return whether the network is built for one image size, as ViT and Swin are."""
    flexible = model_args.get("dynamic_img_size") or model_args.get("strict_img_size") is False
    return bool(pretrained_cfg.get("fixed_input_size")) and not flexible


def hub_id(name: str) -> str:
    """Return the Hub repository that timm names for the weights of a network.

    Raises:
        UserError: timm names no repository.
    """
    pretrained_cfg = get_pretrained_cfg(name)
    if pretrained_cfg is None or not pretrained_cfg.hf_hub_id:
        raise UserError(
            f"model.name is {name!r}, for which timm names no weights on the Hub. "
            f"Use another network, or {FROM_SCRATCH}"
        )
    repository: str = pretrained_cfg.hf_hub_id
    return repository
