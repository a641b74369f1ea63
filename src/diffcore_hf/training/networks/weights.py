"""Weights: where they come from, what is known of them before they are loaded, and what is refused.

Owns the names of timm's networks, and the way from a recipe's `model.pretrained` to one local file with the facts about
it. models/weights_access.py decides what may be loaded: pinned to a commit, safetensors only. Building a network and
putting them in is backbones.py.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from safetensors import safe_open
from timm.models import PretrainedCfg, get_deprecated_models, get_pretrained_cfg

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import weights_access
from diffcore_hf.models.weights_access import PinnedWeights

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FROM_SCRATCH = "train from scratch with --model.pretrained false"

# What is read of a config.json's pretrained_cfg: facts about images and head, never a place to load weights from.
_FACTS = (
    *("input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes"),
    *("pool_size", "first_conv", "classifier", "label_offset"),
)
# What is not read of its model_args: what is decided here, and what would load something.
_OURS = {
    *("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "device"),
    *("dtype", "scriptable", "exportable", "no_jit", "pretrained_strict", "pretrained_filter_fn", "features_only"),
    *("pretrained_model_args", "num_classes", "drop_path_rate", "drop_rate"),
}


@dataclass(frozen=True)
class Weights:
    """A file of weights that may be loaded, and what is known of it."""

    told: str
    """Its path as the user, or timm, gave it."""
    architecture: str
    picture: dict[str, Any]
    """timm's facts: input_size, mean, std, num_classes, classifier, ..."""
    arguments: dict[str, Any]
    """Those of the network that its config.json keeps (model_args)."""
    source: dict[str, Any]
    """Arguments of timm.create_model that name the file."""
    labels: list[str] | None = None


def architecture_of(name: str) -> str:
    """The name without its tag of weights (`resnet50.a1_in1k`: resnet50), after a check of both."""
    if "/" in name or ":" in name:
        raise UserError(
            f"model.name is {name!r}, a place of weights, not a network. "
            f"Use e.g. --model.name resnet50 --model.pretrained {name.rpartition(':')[2]}"
        )
    architecture, _, tag = name.partition(".")
    if current := get_deprecated_models().get(name):
        raise UserError(f"model.name is {name!r}, a former name of timm's. Use --model.name {current}")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture.lower(), timm.list_models(), n=3)
        raise UserError(
            f"model.name is {name!r}, which timm does not know; the nearest: {', '.join(near) or 'none'}. "
            f"Use e.g. --model.name {near[0] if near else 'resnet50'}"
        )
    try:
        get_pretrained_cfg(name)
    except RuntimeError:  # timm has the network, but no such tag of it
        tags = [known for known in timm.list_models(architecture, include_tags=True) if known != architecture]
        near = difflib.get_close_matches(name.lower(), tags, n=3, cutoff=0) or [architecture]
        raise UserError(
            f"model.name is {name!r}, but timm knows no {tag!r} of {architecture}; the nearest: {', '.join(near)}. "
            f"Use e.g. --model.name {near[0]}"
        ) from None
    return architecture


def picture_of(name: str) -> dict[str, Any]:
    """timm's facts about a network: input_size, mean, std, num_classes, ..."""
    return (get_pretrained_cfg(name) or PretrainedCfg()).to_dict()


def is_fixed(picture: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    """Whether the network is built for one size of image (ViT, Swin, ...)."""
    flexible = arguments.get("dynamic_img_size") or arguments.get("strict_img_size") is False
    return bool(picture.get("fixed_input_size")) and not flexible


def hub_id(name: str) -> str:
    """The Hub repository that timm names for a network."""
    facts = get_pretrained_cfg(name)
    if facts is None or not facts.hf_hub_id:
        raise UserError(
            f"model.name is {name!r}, for which timm names no weights on the Hub. Use another, or {FROM_SCRATCH}"
        )
    return facts.hf_hub_id


def pretrained_weights(config: BackboneConfig, architecture: str) -> Weights | None:
    """The weights that a recipe wants; None: from scratch."""
    if not config.pretrained:
        return None
    if config.pretrained is True:
        path = hub_id(config.name)
        file, _ = _files_at(path, FROM_SCRATCH)
        overlay = {"file": str(file), "custom_load": False}  # the Hub's files are timm's own, whatever lay at the URL
        return Weights(path, architecture, picture_of(config.name), {}, {"pretrained_cfg_overlay": overlay})
    weights = weights_at(config.pretrained, config.name, FROM_SCRATCH)
    if weights.architecture != architecture:
        raise UserError(
            f"{config.pretrained}: weights of {weights.architecture}, but model.name is {config.name!r}. "
            f"Use --model.name {weights.architecture}, or {FROM_SCRATCH}"
        )
    return weights


def weights_at(path: str, name: str | None, remedy: str) -> Weights:
    """The weights in a folder, a file or a Hub repository; without timm's config.json they are taken for `name`'s."""
    file, config_file = _files_at(path, remedy)
    try:
        config = json.loads(config_file.read_text()) if config_file else {}
        described = _described(file, path, config) if "architecture" in config else None
    except (ValueError, TypeError, AttributeError) as error:  # torn, or of another shape than timm's
        raise UserError(
            f"{path}: its config.json is damaged ({reason_of(error)}). Copy it anew, or {remedy}"
        ) from error
    if described is None and name is not None:
        picture = picture_of(name)
        facts = {"num_classes": _count(file, picture), "label_offset": None}
        overlay = facts | {"file": str(file), "custom_load": False}
        return Weights(path, architecture_of(name), picture | facts, {}, {"pretrained_cfg_overlay": overlay})
    if described is None or not timm.is_model(described.architecture):
        raise UserError(f"{path}: no config.json there that names a network of timm. Copy it anew, or {remedy}")
    return described


def _described(file: Path, path: str, config: Mapping[str, Any]) -> Weights:
    """A file of weights by its config.json."""
    architecture = config["architecture"]
    architecture = (get_deprecated_models().get(architecture) or architecture).partition(".")[0]
    told = config.get("pretrained_cfg") or config  # older ones are flat
    facts = {key: told[key] for key in _FACTS if key in told}
    facts["num_classes"] = int(config.get("num_classes", facts.get("num_classes", 1000)))
    arguments = {key: value for key, value in (config.get("model_args") or {}).items() if key not in _OURS}
    if "img_size" in arguments and is_fixed(facts, arguments):
        side = arguments["img_size"]
        facts["input_size"] = [3, *([side, side] if isinstance(side, int) else side)]
    picture = PretrainedCfg(**facts, architecture=architecture).to_dict()
    labels = config.get("label_names") or told.get("label_names")
    return Weights(path, architecture, picture, arguments, {"pretrained_cfg": picture | {"file": str(file)}}, labels)


def _files_at(path: str, remedy: str) -> tuple[Path, Path | None]:
    """The safetensors file of a place, and the config.json beside it where a folder was named."""
    resolved = through_the_door(path, remedy)
    place = resolved.local or weights_access.cached_snapshot(resolved.location, resolved.revision)
    if place and place.is_file():
        return place, None
    found = sorted(place.glob("*.safetensors")) if place else []
    chosen = [file for file in found if file.name == WEIGHTS] or found
    if len(chosen) != 1:
        raise UserError(
            f"{path}: {len(found)} .safetensors files there, one is needed. Give the path of one, or {remedy}"
        )
    return chosen[0], place / CONFIG if (place / CONFIG).is_file() else None


def through_the_door(path: str, remedy: str, fetch: bool = True) -> PinnedWeights:
    """Resolved, and lying here if `fetch`; a Hub id may end in `@revision`."""
    repo_id, _, revision = path.partition("@")
    try:
        if path.startswith("package:") or Path(path).expanduser().exists():
            return weights_access.resolve_weights(path, kind="backbone", identify=not fetch)
        get = weights_access.fetch_weights if fetch else weights_access.resolve_weights
        return get(repo_id, revision or None, "backbone")
    except ValueError as error:
        # Its advice is for the models of an augmentation.
        message = str(error).replace("Run `diffcore-hf plan --fetch` once with a network", "Start once with a network")
        raise UserError(f"{message}, or {remedy}") from None
    except Exception as error:  # the network went away, or what is cached is not all of it
        raise UserError(
            f"{path}: could not be fetched ({reason_of(error)}). Start once with a network, or {remedy}"
        ) from error


def _count(file: Path, picture: Mapping[str, Any]) -> int:
    """Classes of a file of weights, by the shape of its head; timm's number where it has none of timm's name."""
    classifier = picture.get("classifier") or ""
    name = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight"
    try:
        with safe_open(file, framework="pt") as weights:
            return weights.get_slice(name).get_shape()[0] if name in set(weights.keys()) else picture["num_classes"]
    except Exception:  # torn: loading it will say so
        return picture["num_classes"]


def reason_of(error: BaseException) -> str:
    """The first line of an error that says something, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = lines[1 if len(lines) > 1 and lines[0].startswith("Error(s) in loading") else 0].rstrip(". ")
    return text if len(text) <= 140 else text[:137] + "..."
