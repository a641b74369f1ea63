"""Backbones: any network of timm, from scratch or from pretrained weights.

Owns which network a recipe's `model` means, and what is refused. The weights are weights.py, the folder of a trained
model is trained_model.py, memory format and device are the engine's. timm gets the file of the weights, because it
would fall back to pickles if it searched for one.

Fine-tuning always starts with a fresh classifier, also if the weights have as many classes: the classes of the weights
are not those of the dataset.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.core.errors import UserError, environment_fault
from diffcore_hf.models.weights_access import PinnedWeights
from diffcore_hf.training.networks import preact  # its import registers the names
from diffcore_hf.training.networks.timm_names import FROM_SCRATCH, architecture_of, has_fixed_size, hub_id, timm_facts
from diffcore_hf.training.networks.weights import Weights, pinned_weights, pretrained_weights, reason_of

log = logging.getLogger(__name__)

_ORIGIN_KEYS = ("file", "url", "hf_hub_id", "hf_hub_filename", "source", "tag", "label_names", "label_offset")


def create(config: BackboneConfig, classes: int, size: int) -> nn.Module:
    """Build the network of a recipe: (B, 3, size, size) float -> (B, classes) logits; CPU, float32, training mode.

    If weights are loaded, the classifier alone is fresh, which is logged at INFO with both numbers of classes. A
    network of a fixed input size is built for `size`; timm resizes its position embeddings. `drop_path` 0 also
    switches off what a network would drop by default (Swin: 0.1).

    Args:
        config: the recipe's `model`.
        classes: number of classes of the dataset, at least 1.
        size: side of the training image in pixels.

    Raises:
        UserError: no such network; an option or a size that it does not take; no weights, or weights of another shape.
    """
    architecture = architecture_of(config.name)
    weights = pretrained_weights(config, architecture)
    facts = weights.facts if weights else timm_facts(config.name)
    model_args = (weights.model_args if weights else {}) | _options(config, architecture)
    fixed = has_fixed_size(facts, model_args)
    if fixed:
        model_args["img_size"] = size
    network: Any  # timm's networks have attributes that nn.Module does not declare
    if weights is None:
        network = _build(config.name, config.drop_path, size, {"num_classes": classes, **model_args})
    else:
        network = _build_with_weights(config, size, weights, model_args)
        log.info("%s: its head of %d classes is replaced by one of %d", weights.path, network.num_classes, classes)
        network.reset_classifier(classes)
    _try_size(network, config.name, size, fixed)
    return annotated(network, classes, model_args)


def resolve_pretrained(config: BackboneConfig) -> PinnedWeights | None:
    """Return location and identity of the weights that `create` would load, without loading; None: from scratch.

    Raises:
        UserError: as `create`.
    """
    architecture_of(config.name)
    if not config.pretrained:
        return None
    path = hub_id(config.name) if config.pretrained is True else config.pretrained
    return pinned_weights(path, FROM_SCRATCH, fetch=False)


def normalisation(config: BackboneConfig, model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and deviation (three each, on [0, 1]) that pretrained weights expect; None from scratch."""
    if not config.pretrained:
        return None
    facts: Any = model.pretrained_cfg
    return tuple(facts["mean"]), tuple(facts["std"])


def takes_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Return whether the memory format is safe for a network.

    torch 2.14 on a CPU corrupts memory in the backward pass of a channels-last 1x1 convolution with a stride over few
    channels; the stem of FastViT has one.
    """
    return device.type != "cpu" or not any(
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels < 8
        for layer in model.modules()
    )


def annotated(network: nn.Module, classes: int, model_args: Mapping[str, Any]) -> nn.Module:
    """Remove where the weights came from, and store what is needed to build the network again."""
    facts: Any = network.pretrained_cfg
    for key in _ORIGIN_KEYS:
        facts.pop(key, None)
    facts["num_classes"] = classes
    kept = dict(model_args)
    if has_fixed_size(facts, model_args):
        kept.pop("img_size", None)  # input_size of the facts holds it
    network.model_args = kept  # type: ignore[assignment]  # nn.Module declares tensors and modules alone
    return network


def _options(config: BackboneConfig, architecture: str) -> dict[str, Any]:
    """Return the arguments that only some networks take."""
    if config.stem_stride is None:
        return {}
    if architecture not in preact.NAMES:
        raise UserError(
            f"model.stem_stride is {config.stem_stride}, which {config.name} does not have. "
            f"Leave it out, or use --model.name {preact.NAMES[0]}"
        )
    return {"stem_stride": config.stem_stride}


def _build(name: str, drop_path: float | None, size: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Build timm's network, with stochastic depth if it has it.

    Raises:
        UserError: timm refuses the arguments; its exception is chained.
    """
    depth: dict[str, Any] = {} if drop_path is None else {"drop_path_rate": drop_path}
    try:
        network: nn.Module = timm.create_model(name, **depth, **arguments)
        return network
    except Exception as error:  # the networks of many authors raise many types
        if environment_fault(error):
            raise
        # Whether a network takes the rate shows only here, because its signature ends in `**kwargs`.
        if drop_path is None or "drop_path_rate" not in str(error):
            raise _unfit(name, size, error) from error
    if drop_path:
        raise UserError(f"model.drop_path is {drop_path}, but {name} has no stochastic depth. Use --model.drop_path 0")
    return _build(name, None, size, arguments)


def _build_with_weights(
    config: BackboneConfig, size: int, weights: Weights, model_args: Mapping[str, Any]
) -> nn.Module:
    """Build the network with its weights and their own head, so that timm reports every missing key."""
    arguments = {**model_args, "num_classes": max(weights.facts["num_classes"], 0)}
    try:
        return _build(config.name, config.drop_path, size, {"pretrained": True, **weights.load_args, **arguments})
    except UserError as error:
        _build(config.name, config.drop_path, size, arguments)  # raises if the weights are not the reason
        raise UserError(
            f"{weights.path}: its weights do not fit {config.name} ({reason_of(error)}). "
            f"Give weights of this network, or {FROM_SCRATCH}"
        ) from error


def _try_size(network: nn.Module, name: str, size: int, fixed: bool) -> None:
    """Run one black image through the network, so that an impossible size is an error before the training."""
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if fixed and isinstance(patch, tuple) and size % patch[0]:  # timm would drop the pixels beyond the last patch
        raise UserError(
            f"{name} takes sizes that are multiples of {patch[0]}, not {size}. "
            f"Use --transform.size {max(1, round(size / patch[0])) * patch[0]}"
        )
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    except Exception as error:  # the networks of many authors raise many types
        raise _unfit(name, size, error) from error
    network.train()


def _unfit(name: str, size: int, error: Exception) -> UserError:
    return UserError(
        f"{name} cannot be built for images of {size} pixels ({reason_of(error)}). "
        f"Use e.g. --transform.size {timm_facts(name)['input_size'][-1]}, or another --model.name"
    )
