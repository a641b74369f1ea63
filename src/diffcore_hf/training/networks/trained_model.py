"""The folder of a trained model: config.json and model.safetensors, as timm's `local-dir:FOLDER` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save as to_safetensors
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
        folder: local folder or Hub id; its content was written by `save_model` or by timm's save_for_hf.
        classes: number of classes of the dataset.

    Raises:
        UserError: the folder holds no trained model, the number of classes differs, or config.json and weights do not
            fit.
    """
    weights = weights_at(str(folder), None, _REMEDY)
    model_classes = weights.pretrained_cfg["num_classes"]
    if model_classes != classes:
        raise UserError(
            f"{folder}: the model has {model_classes} classes, but the dataset has {classes}. "
            "Give a model that was trained on this dataset"
        )
    try:
        network: Any = timm.create_model(
            weights.architecture, pretrained=True, **weights.load_args, **weights.model_args
        )
    except Exception as error:  # networks by different authors raise different types
        if environment_fault(error):
            raise
        raise UserError(
            f"{folder}: its weights do not fit its config.json ({reason_of(error)}). Copy the folder again"
        ) from error
    network = annotated(network, model_classes, weights.model_args)
    if weights.labels:
        network.pretrained_cfg["label_names"] = list(weights.labels)
    in_evaluation_mode: nn.Module = network.eval()
    return in_evaluation_mode


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
    """Write config.json and model.safetensors; each file is written atomically.

    Args:
        folder: output folder, created if it does not exist.
        model: result of `backbones.create` or `load_model`; may be compiled, on any device, in any memory format.
        label_names: one name for each class, in the order of the logits.
        mean: mean of each channel that the training used, on [0, 1].
        std: standard deviation of each channel that the training used, on [0, 1].
        size: side of the training images in pixels.
        crop_pct: share of the shorter side that the central crop of an evaluation keeps.
        model_args: arguments of the network beyond its name (stem_stride, ...); None: those that the model was
            built with.

    Raises:
        UserError: the number of labels is not the number of logits.
    """
    network: Any = getattr(model, "_orig_mod", model)  # the network inside the wrapper of torch.compile
    if len(label_names) != network.num_classes:
        raise UserError(
            f"{len(label_names)} label names for a model of {network.num_classes} classes. Give one name for each class"
        )
    built_cfg = network.pretrained_cfg
    pretrained_cfg = {
        "input_size": [3, size, size],
        "fixed_input_size": bool(built_cfg.get("fixed_input_size", False)),
        "interpolation": "bilinear",  # framing.py resizes in this way
        "crop_pct": crop_pct,
        "crop_mode": "center",
        "mean": list(mean),
        "std": list(std),
        "num_classes": network.num_classes,
        "pool_size": None,
        "first_conv": built_cfg.get("first_conv"),
        "classifier": built_cfg.get("classifier"),
    }
    content = {
        "architecture": built_cfg["architecture"],
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "label_names": list(label_names),  # timm copies them into its pretrained_cfg
        "pretrained_cfg": pretrained_cfg,
        "model_args": dict(getattr(network, "model_args", {}) if model_args is None else model_args),
    }
    # safetensors cannot store channels-last memory. Only its bytes are used, because it writes files with mode 0600.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomic(folder / WEIGHTS, to_safetensors(tensors, metadata={"format": "pt"}))
    write_atomic(folder / CONFIG, canonical_json(content))
