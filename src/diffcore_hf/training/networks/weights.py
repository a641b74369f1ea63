"""Weights of a network: from `model.pretrained` of a recipe to one local file with the facts about it.

Owns where the file is and what its config.json says. models/weights_access.py decides what may be loaded: pinned to a
commit, safetensors only. A network is built and filled in backbones.py.
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
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.weights_access import PinnedWeights, cached_snapshot, fetch_weights, resolve_weights
from diffcore_hf.training.networks.timm_names import (
    FROM_SCRATCH,
    architecture_of,
    current_architecture,
    has_fixed_size,
    hub_id,
    timm_facts,
)

WEIGHTS, CONFIG = "model.safetensors", "config.json"

# Keys that are read of a config.json's pretrained_cfg: facts about images and head, no location of weights.
_FACTS = (
    *("input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes"),
    *("pool_size", "first_conv", "classifier", "label_offset"),
)
# Keys of its model_args that are ignored: what this package decides, and what would load something.
_IGNORED_ARGS = {
    *("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "device"),
    *("dtype", "scriptable", "exportable", "no_jit", "pretrained_strict", "pretrained_filter_fn", "features_only"),
    *("pretrained_model_args", "num_classes", "drop_path_rate", "drop_rate"),
}


@dataclass(frozen=True)
class Weights:
    """A file of weights that may be loaded, and what is known of it."""

    path: str
    """As the recipe, or timm, gives it."""
    architecture: str
    facts: dict[str, Any]
    """timm's facts: input_size, mean, std, num_classes, classifier, ..."""
    model_args: dict[str, Any]
    """Arguments of the network that its config.json keeps."""
    load_args: dict[str, Any]
    """Arguments of timm.create_model that name the file."""
    labels: list[str] | None = None


def pretrained_weights(config: BackboneConfig, architecture: str) -> Weights | None:
    """Return the weights that a recipe names; None: from scratch.

    Raises:
        UserError: there are none, they must not be loaded, or they belong to another network.
    """
    if not config.pretrained:
        return None
    if config.pretrained is True:
        path = hub_id(config.name)
        file, _ = _files_at(path, FROM_SCRATCH)
        # The Hub's files have timm's own layout; a custom loader is meant for the files at timm's former addresses.
        return Weights(path, architecture, timm_facts(config.name), {}, _overlay({"file": str(file)}))
    weights = weights_at(config.pretrained, config.name, FROM_SCRATCH)
    if weights.architecture != architecture:
        raise UserError(
            f"{config.pretrained}: weights of {weights.architecture}, but model.name is {config.name!r}. "
            f"Use --model.name {weights.architecture}, or {FROM_SCRATCH}"
        )
    return weights


def weights_at(path: str, name: str | None, remedy: str) -> Weights:
    """Return the weights in a folder, a file or a Hub repository.

    Args:
        path: of the weights.
        name: network that is assumed if there is no config.json of timm's; None: the config.json is required.
        remedy: the last part of an error.

    Raises:
        UserError: no weights, or a damaged config.json.
    """
    file, config_file = _files_at(path, remedy)
    try:
        config = json.loads(config_file.read_text()) if config_file else {}
        described = _described(file, path, config) if "architecture" in config else None
    except (ValueError, TypeError, AttributeError) as error:  # not JSON, or not of the shape that timm writes
        raise UserError(
            f"{path}: its config.json is damaged ({reason_of(error)}). Copy it again, or {remedy}"
        ) from error
    if described is None and name is not None:
        facts = timm_facts(name)
        changed = {"num_classes": _count_classes(file, facts), "label_offset": None}
        load_args = _overlay(changed | {"file": str(file)})
        return Weights(path, architecture_of(name), facts | changed, {}, load_args)
    if described is None or not timm.is_model(described.architecture):
        raise UserError(f"{path}: holds no config.json that names a network of timm. Copy it again, or {remedy}")
    return described


def pinned_weights(path: str, remedy: str, *, fetch: bool = True) -> PinnedWeights:
    """Pin the weights at a path, and download them if `fetch`; a Hub id may end in `@revision`.

    Raises:
        UserError: there are none, they must not be loaded, or they could not be downloaded.
    """
    repo_id, _, revision = path.partition("@")
    try:
        if path.startswith("package:") or Path(path).expanduser().exists():
            return resolve_weights(path, kind="backbone", identify=not fetch)
        pin = fetch_weights if fetch else resolve_weights
        return pin(repo_id, revision or None, "backbone")
    except UserError as error:
        # The remedy of that error is a command for the models of an augmentation.
        message = str(error).replace("Run `diffcore-hf plan --fetch` once with a network", "Start once with a network")
        raise UserError(f"{message}, or {remedy}") from error


def reason_of(error: BaseException) -> str:
    """Return the innermost cause of an exception in one line: its first line with content, shortened."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    is_heading = len(lines) > 1 and lines[0].startswith("Error(s) in loading")
    text = lines[1 if is_heading else 0].rstrip(". ")
    return text if len(text) <= 140 else text[:137] + "..."


def _described(file: Path, path: str, config: Mapping[str, Any]) -> Weights:
    """Return the weights of a file as its config.json describes them."""
    architecture = current_architecture(config["architecture"])
    pretrained_cfg = config.get("pretrained_cfg") or config  # older files are flat
    facts = {key: pretrained_cfg[key] for key in _FACTS if key in pretrained_cfg}
    facts["num_classes"] = int(config.get("num_classes", facts.get("num_classes", 1000)))
    model_args = {key: value for key, value in (config.get("model_args") or {}).items() if key not in _IGNORED_ARGS}
    if "img_size" in model_args and has_fixed_size(facts, model_args):
        side = model_args["img_size"]
        facts["input_size"] = [3, *([side, side] if isinstance(side, int) else side)]
    facts = PretrainedCfg(**facts, architecture=architecture).to_dict()
    labels = config.get("label_names") or pretrained_cfg.get("label_names")
    return Weights(path, architecture, facts, model_args, {"pretrained_cfg": facts | {"file": str(file)}}, labels)


def _overlay(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of timm.create_model that change timm's own facts about a network."""
    return {"pretrained_cfg_overlay": {**facts, "custom_load": False}}


def _files_at(path: str, remedy: str) -> tuple[Path, Path | None]:
    """Return the safetensors file at a path, and the config.json beside it if the path is a folder."""
    pinned = pinned_weights(path, remedy)
    location = pinned.local
    if pinned.revision is not None:
        location = cached_snapshot(pinned.location, pinned.revision)
    if location is not None and location.is_file():
        return location, None
    files = sorted(location.glob("*.safetensors")) if location else []
    candidates = [file for file in files if file.name == WEIGHTS] or files
    if len(candidates) != 1:
        raise UserError(
            f"{path}: holds {len(files)} .safetensors files, but one is needed. Give the path of one, or {remedy}"
        )
    config = candidates[0].with_name(CONFIG)
    return candidates[0], config if config.is_file() else None


def _count_classes(file: Path, facts: Mapping[str, Any]) -> int:
    """Return the classes of a file of weights by the shape of its head; timm's number if it has no such head."""
    classifier = facts.get("classifier") or ""
    name = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight"
    timm_count: int = facts["num_classes"]
    try:
        with safe_open(file, framework="pt") as weights:
            if name not in set(weights.keys()):
                return timm_count
            count: int = weights.get_slice(name).get_shape()[0]
            return count
    except SafetensorError:  # a damaged file; loading it raises the error for the user
        return timm_count
