"""Weights of a network: the local file that `model.pretrained` of a recipe names, and the configuration beside it.

Owns the search for the file and the reading of its config.json. models/weights_access.py decides what may be loaded:
only safetensors files, pinned to a commit. backbones.py builds the network and loads the weights into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError, safe_open
from timm.models import PretrainedCfg

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.models.weights_access import (
    PinnedWeights,
    cached_snapshot,
    check_folder,
    fetch_weights,
    resolve_weights,
)
from diffcore_hf.training.networks.timm_names import (
    FROM_SCRATCH,
    architecture_of,
    current_architecture,
    has_fixed_size,
    hub_id,
    timm_pretrained_cfg,
)

WEIGHTS, CONFIG = "model.safetensors", "config.json"

# Keys of pretrained_cfg in a config.json that are used. They describe images and classifier. Keys for the location of
# weights are not used.
_PRETRAINED_CFG_KEYS = (
    *("input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes"),
    *("pool_size", "first_conv", "classifier", "label_offset"),
)
# Keys of model_args in a config.json that are ignored: this package sets them itself, or they would load a file.
_IGNORED_ARGS = {
    *("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "device"),
    *("dtype", "scriptable", "exportable", "no_jit", "pretrained_strict", "pretrained_filter_fn", "features_only"),
    *("pretrained_model_args", "num_classes", "drop_path_rate", "drop_rate"),
}


@dataclass(frozen=True)
class Weights:
    """A file of weights that may be loaded, and its configuration."""

    path: str
    """Path or Hub id from the recipe or from timm."""
    architecture: str
    pretrained_cfg: dict[str, Any]
    """Configuration in the form of timm: input_size, mean, std, num_classes, classifier, ..."""
    model_args: dict[str, Any]
    """Arguments of the network that are stored in its config.json."""
    load_args: dict[str, Any]
    """Arguments of timm.create_model that name the file."""
    labels: list[str] | None = None


def pretrained_weights(config: BackboneConfig, architecture: str) -> Weights | None:
    """Return the weights that a recipe names; None if it trains from scratch.

    Raises:
        UserError: the weights do not exist, must not be loaded, or belong to another network.
    """
    if not config.pretrained:
        return None
    if config.pretrained is True:
        path = hub_id(config.name)
        file, _ = _files_at(path, FROM_SCRATCH)
        # Files on the Hub have the layout of timm's networks. Only older files outside the Hub need a custom loader.
        return Weights(path, architecture, timm_pretrained_cfg(config.name), {}, _overlay({"file": str(file)}))
    weights = weights_at(config.pretrained, config.name, FROM_SCRATCH)
    if weights.architecture != architecture:
        raise UserError(
            f"{config.pretrained} has weights of {weights.architecture}, but model.name is {config.name!r}. "
            f"Use --model.name {weights.architecture}, or {FROM_SCRATCH}"
        )
    return weights


def weights_at(path: str, name: str | None, remedy: str) -> Weights:
    """Return the weights in a folder, a file or a Hub repository.

    Args:
        path: folder, file or Hub id of the weights.
        name: network that is assumed if the weights have no config.json of timm; None: a config.json is required.
        remedy: last part of an error message.

    Raises:
        UserError: the weights do not exist, or config.json is damaged.
    """
    file, config_file = _files_at(path, remedy)
    try:
        config = json.loads(config_file.read_text()) if config_file else {}
        weights = _from_config(file, path, config) if "architecture" in config else None
    except (ValueError, TypeError, AttributeError) as error:  # not JSON, or not the structure that timm writes
        raise UserError(
            f"{path}: its config.json is damaged ({reason_of(error)}). Copy it again, or {remedy}"
        ) from error
    if weights is None and name is not None:
        pretrained_cfg = timm_pretrained_cfg(name)
        changed = {"num_classes": _count_classes(file, pretrained_cfg), "label_offset": None}
        load_args = _overlay(changed | {"file": str(file)})
        return Weights(path, architecture_of(name), pretrained_cfg | changed, {}, load_args)
    if weights is None or not timm.is_model(weights.architecture):
        raise UserError(f"{path} has no config.json that names a network of timm. Copy it again, or {remedy}")
    return weights


def pinned_weights(path: str, remedy: str, *, fetch: bool = True) -> PinnedWeights:
    """Pin the weights at a path to a commit or a hash, and download them if `fetch` is true.

    Args:
        path: folder, file or Hub id; a Hub id may end in `@revision`.
        remedy: last part of an error message.
        fetch: download weights that are not in the cache.

    Raises:
        UserError: the weights do not exist, must not be loaded, or cannot be downloaded.
    """
    repo_id, _, revision = path.partition("@")
    try:
        if path.startswith("package:") or Path(path).expanduser().exists():
            return resolve_weights(path, kind="backbone", identify=not fetch)
        pin = fetch_weights if fetch else resolve_weights
        return pin(repo_id, revision or None, "backbone")
    except UserError as error:
        # The message suggests a command for the models of an augmentation. A training downloads weights when it starts.
        message = str(error).replace("Run `diffcore-hf plan --fetch` once with a network", "Start once with a network")
        raise UserError(f"{message}, or {remedy}") from error


def reason_of(error: BaseException) -> str:
    """Return the message of an exception's innermost cause: its first line with text, at most 140 characters."""
    text = innermost_cause(error).rstrip(". ")
    return text if len(text) <= 140 else text[:137] + "..."


def _from_config(file: Path, path: str, config: Mapping[str, Any]) -> Weights:
    """Return the weights of a file with the configuration from its config.json."""
    architecture = current_architecture(config["architecture"])
    stored_cfg = config.get("pretrained_cfg") or config  # older files have these keys at the top level
    used_cfg = {key: stored_cfg[key] for key in _PRETRAINED_CFG_KEYS if key in stored_cfg}
    used_cfg["num_classes"] = int(config.get("num_classes", used_cfg.get("num_classes", 1000)))
    model_args = {key: value for key, value in (config.get("model_args") or {}).items() if key not in _IGNORED_ARGS}
    if "img_size" in model_args and has_fixed_size(used_cfg, model_args):
        side = model_args["img_size"]
        used_cfg["input_size"] = [3, *([side, side] if isinstance(side, int) else side)]
    pretrained_cfg = PretrainedCfg(**used_cfg, architecture=architecture).to_dict()
    load_args = {"pretrained_cfg": pretrained_cfg | {"file": str(file)}}
    labels = config.get("label_names") or stored_cfg.get("label_names")
    return Weights(path, architecture, pretrained_cfg, model_args, load_args, labels)


def _overlay(changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of timm.create_model that change its configuration of a network."""
    return {"pretrained_cfg_overlay": {**changed, "custom_load": False}}


def _files_at(path: str, remedy: str) -> tuple[Path, Path | None]:
    """Return the safetensors file at a path, and the config.json beside it if the path is a folder."""
    pinned = pinned_weights(path, remedy)
    location = pinned.local
    if pinned.revision is not None:
        location = cached_snapshot(pinned.location, pinned.revision)
        if location is not None:
            check_folder(location, path)
    if location is not None and location.is_file():
        return location, None
    files = sorted(location.glob("*.safetensors")) if location else []
    candidates = [file for file in files if file.name == WEIGHTS] or files
    if len(candidates) != 1:
        raise UserError(
            f"{path} has {len(files)} .safetensors files, but exactly one is needed. "
            f"Give the path of one file, or {remedy}"
        )
    config = candidates[0].with_name(CONFIG)
    return candidates[0], config if config.is_file() else None


def _count_classes(file: Path, pretrained_cfg: Mapping[str, Any]) -> int:
    """Return the number of classes that the classifier in a file of weights has.

    A file without a classifier gets the number of classes in timm's configuration.
    """
    classifier = pretrained_cfg.get("classifier") or ""
    name = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight"
    timm_count: int = pretrained_cfg["num_classes"]
    try:
        with safe_open(file, framework="pt") as weights:
            if name not in set(weights.keys()):
                return timm_count
            count: int = weights.get_slice(name).get_shape()[0]
            return count
    except SafetensorError:  # the file is damaged; loading it later raises the error for the user
        return timm_count
