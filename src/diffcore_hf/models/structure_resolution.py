"""Resolution of the weights of strategy `structure`: whether a ControlNet and an IP-Adapter fit the model.

Owns the settings of these weights and the checks before any weights are loaded. Reads configurations and headers of
safetensors files, and no tensors. Loading is in structure.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import weights_access
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.safetensors_headers import Shapes, read_shapes
from diffcore_hf.models.weights_access import PinnedWeights, read_json

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
"""Text-to-image pipelines for which there is a ControlNet pipeline with the guidance of Eq. 4."""
SHARED = ("in_channels", "block_out_channels", "cross_attention_dim", "addition_embed_type")
"""Values of a configuration that a ControlNet shares with the UNet for which it was trained."""
PROJECTION, RESAMPLER = "image_proj.proj.weight", "image_proj.proj_in.weight"
"""Tensor that the output of the image encoder enters, for the two kinds of IP-Adapters that are supported."""


@dataclass(frozen=True)
class ControlNet:
    """A ControlNet in the recipe."""

    path: str
    revision: str | None
    scale: float
    """Factor of its output; 0 has no effect."""


@dataclass(frozen=True)
class IPAdapter:
    """An IP-Adapter in the recipe: its weights and its image encoder are in one folder or repository."""

    path: str
    revision: str | None
    file: str
    """Path of the weights inside `path`."""
    encoder: str
    """Folder of the image encoder inside `path`."""
    scale: float
    """Factor of its output; 0 has no effect."""


def check_controlnet(controlnet: ControlNet, model: ModelConfig) -> None:
    """Check that a ControlNet is one of diffusers and fits the UNet of the model.

    Raises:
        UserError: it is another kind of model, or it was trained for another family.
    """
    remedy = (
        "Give a ControlNet for this model, for example --strategy.options.controlnet lllyasviel/sd-controlnet-canny"
    )
    config = _config(_pinned(controlnet, "ControlNet"), "config.json", f"{controlnet.path} is not a ControlNet", remedy)
    if config.get("_class_name") != "ControlNetModel":
        raise UserError(f"{controlnet.path} is not a ControlNet ({config.get('_class_name')}). {remedy}")
    unet = _unet_config(model)
    for name in SHARED:
        own, other = config.get(name), unet.get(name)
        if unet and name in config and name in unet and own != other:
            raise UserError(
                f"{controlnet.path} is a ControlNet of another model than {model.path}: its {name} is {own}, and that "
                f"of the model is {other}. {remedy}"
            )


def check_ip_adapter(adapter: IPAdapter, model: ModelConfig) -> None:
    """Check that an IP-Adapter is of a supported kind and fits its image encoder and the UNet of the model.

    Raises:
        UserError: a file is missing or damaged, or the adapter is of another kind or family.
    """
    for option, name in (("ip_adapter_file", adapter.file), ("ip_adapter_encoder", adapter.encoder)):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
            raise UserError(
                f"strategy.options.{option} is {name!r}, which is not inside {adapter.path}. Give a path inside it"
            )
    weights = _pinned(adapter, "IP-Adapter")
    remedy = "Give an IP-Adapter for this model with --strategy.options.ip_adapter_file FILE"
    if weights.local is not None and weights.local.is_file():
        raise UserError(
            f"{adapter.path} is a file, and an IP-Adapter also needs its image encoder. Give the folder with both"
        )
    encoder = _config(
        weights,
        f"{adapter.encoder}/config.json",
        f"{adapter.path} has no image encoder in {adapter.encoder}",
        "Name its folder with --strategy.options.ip_adapter_encoder FOLDER",
    )
    file = _file(weights, adapter.file)
    if file is None:
        return
    with library_errors(f"{adapter.path} ({adapter.file}) cannot be read as safetensors", remedy):
        shapes = read_shapes(file)
    _check_shapes(adapter, shapes, encoder, _unet_config(model), model.path, remedy)


def _check_shapes(
    adapter: IPAdapter, shapes: Shapes, encoder: dict[str, Any], unet: dict[str, Any], model: str, remedy: str
) -> None:
    name, width = (PROJECTION, "projection_dim") if PROJECTION in shapes else (RESAMPLER, "hidden_size")
    layers = [shape for key, shape in shapes.items() if key.endswith(".to_k_ip.weight")]
    if name not in shapes or not layers or any(len(shape) != 2 for shape in (shapes[name], *layers)):
        raise UserError(f"{adapter.path} ({adapter.file}) is no IP-Adapter of a supported kind. {remedy}")
    if shapes[name][1] != encoder.get(width):
        raise UserError(
            f"{adapter.path} ({adapter.file}) was trained with another image encoder than {adapter.encoder}: it takes "
            f"{shapes[name][1]} values, and {width} of the encoder is {encoder.get(width)}. Name the folder of its "
            "encoder with --strategy.options.ip_adapter_encoder FOLDER"
        )
    wanted = unet.get("cross_attention_dim")
    if isinstance(wanted, int) and layers[0][1] != wanted:
        raise UserError(
            f"{adapter.path} ({adapter.file}) is an IP-Adapter of another model than {model}: it has a width of "
            f"{layers[0][1]}, and the cross_attention_dim of the model is {wanted}. {remedy}"
        )


def _pinned(named: ControlNet | IPAdapter, kind: weights_access.Kind) -> PinnedWeights:
    return weights_access.resolve_weights(named.path, named.revision, kind, identify=False)


def _config(weights: PinnedWeights, name: str, problem: str, remedy: str) -> dict[str, Any]:
    with library_errors(problem, remedy):
        return read_json(weights, name)


def _unet_config(model: ModelConfig) -> dict[str, Any]:
    """Return the configuration of the UNet; {} for a model in a single file."""
    if model.family_preset is not None:
        return {}
    weights = weights_access.resolve_weights(model.path, model.revision, "pipeline", identify=False)
    return _config(weights, "unet/config.json", f"{model.path} has no UNet", "Give a Stable Diffusion model")


def _file(weights: PinnedWeights, name: str) -> Path | None:
    """Return a file on this machine; None if it is not downloaded yet.

    Raises:
        UserError: a local folder has no such safetensors file.
    """
    if weights.local is None:
        return weights_access.cached_file(weights.location, weights.revision, name)
    path = weights.local / name
    if not path.is_file() or path.suffix != ".safetensors":
        raise UserError(
            f"{weights.location} has no file {name} of safetensors. Name it with "
            "--strategy.options.ip_adapter_file FILE"
        )
    return path
