"""Backbones: any network of timm, from scratch or from pretrained weights.

Owns the building of the network that a recipe's `model` names, and the errors for models that cannot be built. Weights
are found in weights.py. The folder of a trained model is written and read in trained_model.py. Memory format and device
are set in engine/. timm always receives the path of the weights file. If timm searched for the file itself, it could
load a pickle.

Fine-tuning always starts with a new classifier, even if the weights have the same number of classes as the dataset.
The classes of the weights are not the classes of the dataset.
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
from diffcore_hf.training.networks import preact  # the import registers its networks with timm
from diffcore_hf.training.networks.timm_names import (
    FROM_SCRATCH,
    architecture_of,
    has_fixed_size,
    hub_id,
    timm_pretrained_cfg,
)
from diffcore_hf.training.networks.weights import Weights, pinned_weights, pretrained_weights, reason_of

log = logging.getLogger(__name__)

# Keys of a pretrained_cfg that state the origin of the weights.
_ORIGIN_KEYS = ("file", "url", "hf_hub_id", "hf_hub_filename", "source", "tag", "label_names", "label_offset")


def create(config: BackboneConfig, classes: int, size: int) -> nn.Module:
    """Build the network of a recipe: (B, 3, size, size) float -> (B, classes) logits; CPU, float32, training mode.

    If weights are loaded, only the classifier is new. A log line at INFO level states both numbers of classes. A
    network with a fixed input size is built for `size`, and timm resizes its position embeddings. `drop_path` 0 also
    disables the stochastic depth that some networks have by default (Swin: 0.1).

    Args:
        config: the recipe's `model`.
        classes: number of classes of the dataset, at least 1.
        size: side of the training image in pixels.

    Raises:
        UserError: the network does not exist, it does not support an option or the size, or the weights are missing or
            do not fit.
    """
    architecture = architecture_of(config.name)
    weights = pretrained_weights(config, architecture)
    pretrained_cfg = weights.pretrained_cfg if weights else timm_pretrained_cfg(config.name)
    model_args = (weights.model_args if weights else {}) | _options(config, architecture)
    fixed = has_fixed_size(pretrained_cfg, model_args)
    if fixed:
        model_args["img_size"] = size
    network: Any  # timm's networks have attributes that nn.Module does not declare
    if weights is None:
        network = _build(config.name, config.drop_path, size, {"num_classes": classes, **model_args})
    else:
        network = _build_with_weights(config, size, weights, model_args)
        log.info(
            "%s: the classifier of %d classes is replaced by a new one of %d classes",
            weights.path,
            network.num_classes,
            classes,
        )
        network.reset_classifier(classes)
    _try_size(network, config.name, size, fixed)
    return annotated(network, classes, model_args)


def resolve_pretrained(config: BackboneConfig) -> PinnedWeights | None:
    """Return location and identity of the weights that `create` would load; None if it would train from scratch.

    Nothing is loaded or downloaded.

    Raises:
        UserError: the network does not exist, or the weights do not exist or must not be loaded.
    """
    architecture_of(config.name)
    if not config.pretrained:
        return None
    path = hub_id(config.name) if config.pretrained is True else config.pretrained
    return pinned_weights(path, FROM_SCRATCH, fetch=False)


def normalisation(config: BackboneConfig, model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and standard deviation, three values each on [0, 1], that pretrained weights expect.

    The result is None if the recipe uses no pretrained weights.
    """
    if not config.pretrained:
        return None
    pretrained_cfg: Any = model.pretrained_cfg
    return tuple(pretrained_cfg["mean"]), tuple(pretrained_cfg["std"])


def takes_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Return whether the memory format channels-last is safe for a network on a device.

    On a CPU, torch 2.14 corrupts memory in the backward pass of a channels-last 1x1 convolution that has a stride and
    few input channels. The stem of FastViT has such a layer.
    """
    return device.type != "cpu" or not any(
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels < 8
        for layer in model.modules()
    )


def annotated(network: nn.Module, classes: int, model_args: Mapping[str, Any]) -> nn.Module:
    """Remove the origin of the weights from `pretrained_cfg`, and store the arguments that rebuild the network."""
    pretrained_cfg: Any = network.pretrained_cfg
    for key in _ORIGIN_KEYS:
        pretrained_cfg.pop(key, None)
    pretrained_cfg["num_classes"] = classes
    stored_args = dict(model_args)
    if has_fixed_size(pretrained_cfg, model_args):
        stored_args.pop("img_size", None)  # pretrained_cfg has it as input_size
    network.model_args = stored_args  # type: ignore[assignment]  # nn.Module declares only tensors and modules
    return network


def _options(config: BackboneConfig, architecture: str) -> dict[str, Any]:
    """Return the arguments that only some networks accept, such as `stem_stride`."""
    if config.stem_stride is None:
        return {}
    if architecture not in preact.NAMES:
        raise UserError(
            f"model.stem_stride is {config.stem_stride}, which {config.name} does not have. "
            f"Leave out --model.stem_stride, or use --model.name {preact.NAMES[0]}"
        )
    return {"stem_stride": config.stem_stride}


def _build(name: str, drop_path: float | None, size: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network of timm, with stochastic depth if the network supports it.

    Raises:
        UserError: timm does not accept the arguments; its exception is chained.
    """
    depth: dict[str, Any] = {} if drop_path is None else {"drop_path_rate": drop_path}
    try:
        network: nn.Module = timm.create_model(name, **depth, **arguments)
        return network
    except Exception as error:  # networks by different authors raise different types
        if environment_fault(error):
            raise
        # Signatures end in `**kwargs`, so only the call shows whether a network accepts the rate.
        if drop_path is None or "drop_path_rate" not in str(error):
            raise _unfit_error(name, size, error) from error
    if drop_path:
        raise UserError(f"model.drop_path is {drop_path}, but {name} has no stochastic depth. Use --model.drop_path 0")
    return _build(name, None, size, arguments)


def _build_with_weights(
    config: BackboneConfig, size: int, weights: Weights, model_args: Mapping[str, Any]
) -> nn.Module:
    """Build the network with the weights, including their classifier, so that timm reports every missing key."""
    arguments = {**model_args, "num_classes": max(weights.pretrained_cfg["num_classes"], 0)}
    try:
        return _build(config.name, config.drop_path, size, {"pretrained": True, **weights.load_args, **arguments})
    except UserError as error:
        # If the network cannot be built without the weights either, they are not the cause. Then this call raises the
        # error that the user sees.
        _build(config.name, config.drop_path, size, arguments)
        raise UserError(
            f"{weights.path}: its weights do not fit {config.name} ({reason_of(error)}). "
            f"Give weights of this network, or {FROM_SCRATCH}"
        ) from error


def _try_size(network: nn.Module, name: str, size: int, fixed: bool) -> None:
    """Run one black image through the network, so that an unsupported size is found before the training starts."""
    patch_size = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if fixed and isinstance(patch_size, tuple) and size % patch_size[0]:  # timm would ignore pixels past the last patch
        raise UserError(
            f"{name} needs a size that is a multiple of {patch_size[0]}, not {size}. "
            f"Use --transform.size {max(1, round(size / patch_size[0])) * patch_size[0]}"
        )
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    except Exception as error:  # networks by different authors raise different types
        raise _unfit_error(name, size, error) from error
    network.train()


def _unfit_error(name: str, size: int, error: Exception) -> UserError:
    return UserError(
        f"{name} cannot be built for images of {size} pixels ({reason_of(error)}). "
        f"Use e.g. --transform.size {timm_pretrained_cfg(name)['input_size'][-1]}, or another --model.name"
    )
