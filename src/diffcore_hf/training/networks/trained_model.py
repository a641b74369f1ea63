"""The folder of a trained model: config.json and model.safetensors, as timm's `local-dir:FOLDER` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save as serialised
from torch import nn

from diffcore_hf.core.errors import UserError, environment_fault
from diffcore_hf.core.folder import canonical_json, write_atomic
from diffcore_hf.training.networks.backbones import annotated
from diffcore_hf.training.networks.weights import CONFIG, WEIGHTS, reason_of, weights_at

_REMEDY = "give the folder of a trained model"


def load_model(folder: str | Path, classes: int) -> nn.Module:
    """Load a trained model with its head, in evaluation mode: (B, 3, H, W) float -> (B, classes) logits.

    Mean, std, size and labels of the model are in `model.pretrained_cfg`.

    Args:
        folder: what `save_model` (or timm's save_for_hf) wrote, here or on the Hub.
        classes: number of classes of the dataset.

    Raises:
        UserError: no trained model there, one of another number of classes, or weights that its config does not fit.
    """
    weights = weights_at(str(folder), None, _REMEDY)
    count = weights.facts["num_classes"]
    if count != classes:
        raise UserError(
            f"{folder}: a model of {count} classes, but the dataset has {classes}. Give a model of these classes"
        )
    try:
        network: Any = timm.create_model(
            weights.architecture, pretrained=True, **weights.load_args, **weights.model_args
        )
    except Exception as error:  # the networks of many authors raise many types
        if environment_fault(error):
            raise
        raise UserError(
            f"{folder}: its weights do not fit its config.json ({reason_of(error)}). Copy the folder again"
        ) from error
    network = annotated(network, count, weights.model_args)
    if weights.labels:
        network.pretrained_cfg["label_names"] = list(weights.labels)
    evaluated: nn.Module = network.eval()
    return evaluated


def save_model(
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
    """Write config.json and model.safetensors, each whole or not at all.

    Args:
        folder: created if it does not exist.
        model: of `backbones.create` or `load_model`; compiled or not, on any device, in any memory format.
        label_names: one for each class, in the order of the logits.
        mean: of the pixels it was trained with, on [0, 1].
        std: likewise.
        size: side of its images.
        crop_pct: share of the shorter side that the central crop of an evaluation keeps.
        model_args: arguments of the network beyond its name (stem_stride, ...); None: those it was built with.

    Raises:
        UserError: more or fewer labels than logits.
    """
    network: Any = getattr(model, "_orig_mod", model)  # torch.compile's wrapper
    if len(label_names) != network.num_classes:
        raise UserError(
            f"{len(label_names)} label names for a model of {network.num_classes} classes. Give one for each class"
        )
    known = network.pretrained_cfg
    facts = {
        "input_size": [3, size, size],
        "fixed_input_size": bool(known.get("fixed_input_size", False)),
        "interpolation": "bilinear",  # as framing.py resizes
        "crop_pct": crop_pct,
        "crop_mode": "center",
        "mean": list(mean),
        "std": list(std),
        "num_classes": network.num_classes,
        "pool_size": None,
        "first_conv": known.get("first_conv"),
        "classifier": known.get("classifier"),
    }
    content = {
        "architecture": known["architecture"],
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "label_names": list(label_names),  # timm reads them into the pretrained_cfg
        "pretrained_cfg": facts,
        "model_args": dict(getattr(network, "model_args", {}) if model_args is None else model_args),
    }
    # safetensors stores no channels-last memory. As bytes, because a file that it writes itself has mode 0600.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomic(folder / WEIGHTS, serialised(tensors, metadata={"format": "pt"}))
    write_atomic(folder / CONFIG, canonical_json(content))
