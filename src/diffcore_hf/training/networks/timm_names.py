"""Names of timm's networks, and what timm publishes about each: input size, normalisation, classifier, weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import timm
from timm.models import PretrainedCfg, get_deprecated_models, get_pretrained_cfg

from diffcore_hf.core.errors import UserError

FROM_SCRATCH = "train from scratch with --model.pretrained false"


def architecture_of(name: str) -> str:
    """Return the name without the tag of its weights (`resnet50.a1_in1k`: resnet50).

    Raises:
        UserError: timm has no such network, or no such tag of it.
    """
    if "/" in name or ":" in name:
        raise UserError(
            f"model.name is {name!r}, a location of weights, not a network. "
            f"Use e.g. --model.name resnet50 --model.pretrained {name.rpartition(':')[2]}"
        )
    architecture, _, tag = name.partition(".")
    if current := get_deprecated_models().get(name):
        raise UserError(f"model.name is {name!r}, a former name of timm's. Use --model.name {current}")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture.lower(), timm.list_models(), n=3)
        raise UserError(
            f"model.name is {name!r}, which timm does not have; the nearest: {', '.join(near) or 'none'}. "
            f"Use e.g. --model.name {near[0] if near else 'resnet50'}"
        )
    try:
        get_pretrained_cfg(name)
    except RuntimeError:  # timm has the network, but not this tag of it
        tags = [known for known in timm.list_models(architecture, include_tags=True) if known != architecture]
        near = difflib.get_close_matches(name.lower(), tags, n=3, cutoff=0) or [architecture]
        raise UserError(
            f"model.name is {name!r}, but timm has no {tag!r} of {architecture}; the nearest: {', '.join(near)}. "
            f"Use e.g. --model.name {near[0]}"
        ) from None
    return architecture


def current_architecture(name: str) -> str:
    """Return today's name, without a tag, of a network that a config.json may call by a former name."""
    current: str = get_deprecated_models().get(name) or name
    return current.partition(".")[0]


def timm_facts(name: str) -> dict[str, Any]:
    """Return timm's facts about a network: input_size, mean, std, num_classes, ..."""
    facts: dict[str, Any] = (get_pretrained_cfg(name) or PretrainedCfg()).to_dict()
    return facts


def has_fixed_size(facts: Mapping[str, Any], model_args: Mapping[str, Any]) -> bool:
    """Return whether the network is built for one size of image (ViT, Swin, ...)."""
    flexible = model_args.get("dynamic_img_size") or model_args.get("strict_img_size") is False
    return bool(facts.get("fixed_input_size")) and not flexible


def hub_id(name: str) -> str:
    """Return the Hub repository that timm names for a network.

    Raises:
        UserError: timm names none.
    """
    facts = get_pretrained_cfg(name)
    if facts is None or not facts.hf_hub_id:
        raise UserError(
            f"model.name is {name!r}, for which timm names no weights on the Hub. Use another, or {FROM_SCRATCH}"
        )
    repository: str = facts.hf_hub_id
    return repository
