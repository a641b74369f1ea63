"""Backbones: any network of timm, from scratch, from pretrained weights, or as a training of ours left it.

Owns which network a recipe's `model` means, where its weights come from and what is refused, and the folder in which a
trained one is kept. models/weights_access.py decides what may be loaded: pinned to a commit, safetensors only; timm is
handed the file, as by itself it falls back to pickles. Does not own the memory format, compilation or the device (the
trainer's), nor the learning rates (optimisers.py).

Fine-tuning always begins with a fresh classifier, also where the weights have as many classes: 20 classes there are not
these 20.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save as serialised
from torch import nn

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import canonical_json, write_whole
from diffcore_hf.models.weights_access import PinnedWeights
from diffcore_hf.training.networks import preact  # its import registers the names
from diffcore_hf.training.networks.weights import (
    CONFIG,
    FROM_SCRATCH,
    WEIGHTS,
    Weights,
    architecture_of,
    hub_id,
    is_fixed,
    picture_of,
    pretrained_weights,
    reason_of,
    through_the_door,
    weights_at,
)

logger = logging.getLogger(__name__)

TRAINED = "give the folder of a trained model"
_TRACES = ("file", "url", "hf_hub_id", "hf_hub_filename", "source", "tag", "label_names", "label_offset")


def create(config: BackboneConfig, classes: int, size: int) -> nn.Module:
    """The network of a recipe: (B, 3, size, size) float -> (B, classes) logits; on the CPU, float32, in training mode.

    Where weights are loaded, the classifier alone is fresh, which is logged at INFO with both numbers of classes. A
    network of a fixed input size is built for `size`; timm resizes its position embeddings. `drop_path` 0 also
    switches off what a network would drop by default (Swin: 0.1).

    Args:
        config: the recipe's `model`.
        classes: number of classes of the dataset, at least 1.
        size: side of the training image in pixels.

    Raises:
        UserError: no such network; an option or a size that it does not take; no weights, or such as do not fit.
    """
    architecture = architecture_of(config.name)
    weights = pretrained_weights(config, architecture)
    picture = weights.picture if weights else picture_of(config.name)
    arguments = (weights.arguments if weights else {}) | _options(config, architecture)
    if fixed := is_fixed(picture, arguments):
        arguments["img_size"] = size
    if weights is None:
        network = _build(config.name, config.drop_path, size, num_classes=classes, **arguments)
    else:
        network = _filled(config, size, weights, arguments)
        logger.info("%s: its head of %d classes is replaced by one of %d", weights.told, network.num_classes, classes)
        network.reset_classifier(classes)
    _try_size(network, config.name, size, fixed)
    return _noted(network, classes, arguments)


def resolve(config: BackboneConfig) -> PinnedWeights | None:
    """Place and identity of the weights with which `create` begins, nothing loaded; None: from scratch.

    Raises:
        UserError: as `create`.
    """
    architecture_of(config.name)
    if not config.pretrained:
        return None
    path = hub_id(config.name) if config.pretrained is True else config.pretrained
    return through_the_door(path, FROM_SCRATCH, fetch=False)


def normalisation(config: BackboneConfig, model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation (three each, on [0, 1]) that pretrained weights expect; None from scratch: the preset's."""
    if not config.pretrained:
        return None
    return tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])


def takes_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Whether the memory format is safe for a network.

    torch 2.14 on a CPU corrupts memory in the backward pass of a channels-last 1x1 convolution with a stride over few
    channels; the stem of FastViT has one.
    """
    return device.type != "cpu" or not any(
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels < 8
        for layer in model.modules()
    )


def load(folder: str | Path, classes: int) -> nn.Module:
    """A trained model with its head, in evaluation mode: (B, 3, H, W) float -> (B, classes) logits.

    Its own mean, std, size and labels stand in `model.pretrained_cfg`.

    Args:
        folder: what `save` (or timm's save_for_hf) wrote, here or on the Hub.
        classes: number of classes of the dataset.

    Raises:
        UserError: no trained model there, one of another number of classes, or weights that its config does not fit.
    """
    weights = weights_at(str(folder), None, TRAINED)
    count = weights.picture["num_classes"]
    if count != classes:
        raise UserError(
            f"{folder}: a model of {count} classes, but the dataset has {classes}. Give a model of these classes"
        )
    try:
        network = timm.create_model(weights.architecture, pretrained=True, **weights.source, **weights.arguments)
    except Exception as error:  # networks of a hundred authors refuse in as many ways
        raise UserError(
            f"{folder}: its weights do not fit its config.json ({reason_of(error)}). Copy the folder anew"
        ) from error
    network = _noted(network, count, weights.arguments)
    if weights.labels:
        network.pretrained_cfg["label_names"] = list(weights.labels)
    return network.eval()


def save(
    folder: Path,
    model: nn.Module,
    label_names: Sequence[str],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    size: int,
    crop_pct: float = 1.0,
    model_args: Mapping[str, Any] | None = None,
) -> None:
    """Writes config.json and model.safetensors, for `load` and timm's `local-dir:FOLDER`; each whole or not at all.

    Args:
        folder: made if it is not there.
        model: of `create` or `load`; compiled or not, on any device, in any memory format.
        label_names: one for each class, in the order of the logits.
        mean: of the pixels it was trained with, on [0, 1].
        std: likewise.
        size: side of its images.
        crop_pct: of the shorter side that the central crop of an evaluation keeps.
        model_args: arguments of the network beyond its name (stem_stride, ...); None: those it was built with.

    Raises:
        UserError: more or fewer labels than logits.
    """
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper
    if len(label_names) != model.num_classes:
        raise UserError(f"{len(label_names)} label names for a model of {model.num_classes} classes. Give one a class")
    known = model.pretrained_cfg
    picture = {
        "input_size": [3, size, size],
        "fixed_input_size": bool(known.get("fixed_input_size", False)),
        "interpolation": "bilinear",  # as framing.py resizes
        "crop_pct": crop_pct,
        "crop_mode": "center",
        "mean": list(mean),
        "std": list(std),
        "num_classes": model.num_classes,
        "pool_size": None,
        "first_conv": known.get("first_conv"),
        "classifier": known.get("classifier"),
    }
    content = {
        "architecture": known["architecture"],
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "label_names": list(label_names),  # timm reads them into the pretrained_cfg
        "pretrained_cfg": picture,
        "model_args": dict(getattr(model, "model_args", {}) if model_args is None else model_args),
    }
    # Contiguous in the plain sense: safetensors knows no channels_last. By way of bytes, as its own files are 0600.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(folder / WEIGHTS, serialised(tensors, metadata={"format": "pt"}))
    write_whole(folder / CONFIG, canonical_json(content))


def _options(config: BackboneConfig, architecture: str) -> dict[str, Any]:
    """Arguments that single networks take."""
    if config.stem_stride is None:
        return {}
    if architecture not in preact.NAMES:
        raise UserError(
            f"model.stem_stride is {config.stem_stride}, which {config.name} does not have. "
            f"Leave it out, or use --model.name {preact.NAMES[0]}"
        )
    return {"stem_stride": config.stem_stride}


def _build(name: str, drop_path: float | None, size: int, **arguments: Any) -> nn.Module:
    """timm's network, with stochastic depth where it has it. Whatever it refuses is a UserError, its cause chained."""
    depth = {} if drop_path is None else {"drop_path_rate": drop_path}
    try:
        return timm.create_model(name, **depth, **arguments)
    except Exception as error:  # networks of a hundred authors refuse in as many ways
        # Whether it takes the rate shows here only: the signature lies behind `**kwargs`.
        if drop_path is None or "drop_path_rate" not in str(error):
            raise _unfit(name, size, error) from error
    if drop_path:
        raise UserError(f"model.drop_path is {drop_path}, but {name} has no stochastic depth. Use --model.drop_path 0")
    return _build(name, None, size, **arguments)


def _filled(config: BackboneConfig, size: int, weights: Weights, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with its weights and the head they were trained with: so timm misses no key without saying so."""
    arguments = arguments | {"num_classes": max(weights.picture["num_classes"], 0)}
    try:
        return _build(config.name, config.drop_path, size, pretrained=True, **weights.source, **arguments)
    except ValueError as error:
        _build(config.name, config.drop_path, size, **arguments)  # speaks up where it is not for the weights
        raise UserError(
            f"{weights.told}: its weights do not fit {config.name} ({reason_of(error.__cause__ or error)}). "
            f"Give weights of this network, or {FROM_SCRATCH}"
        ) from error


def _try_size(network: nn.Module, name: str, size: int, fixed: bool) -> None:
    """One black image through the network: a size that it cannot take is told before the training, in one line."""
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if fixed and isinstance(patch, tuple) and size % patch[0]:  # timm would leave out what is beyond the last patch
        raise UserError(
            f"{name} takes sizes that are multiples of {patch[0]}, not {size}. "
            f"Use --transform.size {max(1, round(size / patch[0])) * patch[0]}"
        )
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    except Exception as error:  # as above
        raise _unfit(name, size, error) from error
    network.train()


def _unfit(name: str, size: int, error: Exception) -> UserError:
    return UserError(
        f"{name} cannot be built for images of {size} pixels ({reason_of(error)}). "
        f"Use e.g. --transform.size {picture_of(name)['input_size'][-1]}, or another --model.name"
    )


def _noted(network: nn.Module, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """The network without its traces of other places and labels, but with what `save` needs to have it built again."""
    for name in _TRACES:
        network.pretrained_cfg.pop(name, None)
    network.pretrained_cfg["num_classes"] = classes
    fixed = is_fixed(network.pretrained_cfg, arguments)  # then input_size says it
    network.model_args = {name: value for name, value in arguments.items() if not (fixed and name == "img_size")}
    return network
