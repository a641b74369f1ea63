"""LoRA adapters: the checks that an adapter fits its model, and its loading into a pipeline.

Owns all errors about adapters. Files are read twice. `check_adapter_file` compares the names and shapes in the headers
of two files before any weights are loaded, for the key styles whose names need no conversion. `add_adapters` compares
every key with the loaded model, after diffusers converted it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from diffcore_hf.config.augment import AdapterConfig, ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import weights_access
from diffcore_hf.models.file_contents import check_lora_settings
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.model_files import check_file, list_files
from diffcore_hf.models.model_views import file_view
from diffcore_hf.models.safetensors_headers import Shapes, read_header, read_shapes
from diffcore_hf.models.weights_access import PinnedWeights

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
"""File name that save_lora_weights writes."""
DENOISERS = ("unet", "transformer")

_REMEDY = "Give an adapter that was trained for this model, or leave model.adapters out"
_PART = r"(?:lora_(?:A|B|down|up|magnitude_vector|embedding_[AB]|E)|lora\.(?:down|up)|lokr_\w+|alpha|dora_scale)"
_KEY = re.compile(rf"(?P<target>.+?)\.(?P<part>{_PART})(?:\.default)?(?:\.weight|\.bias)?$")
_OLD_KEY = re.compile(r"(?P<target>.+?)\.processor\.(?P<layer>to_(?:q|k|v|out))_lora\.(?P<part>down|up)\.weight$")
_KOHYA_BLOCKS = re.compile(r"lora_unet_(?P<target>(?:down_blocks|mid_block|up_blocks)_.+)")
_SETTINGS = "lora_adapter_metadata"
"""Key of the header under which diffusers stores the settings of an adapter, as JSON."""
_FIRST = ("lora_A", "lora_down", "lora.down", "down")
_SECOND = ("lora_B", "lora_up", "lora.up", "up")


@dataclass(frozen=True)
class Fit:
    """The layers that an adapter changes, divided into those that the model has and the others."""

    fitting: tuple[str, ...]
    misfitting: tuple[str, ...]

    def require_all(self, file: str, model: str) -> None:
        """Raise UserError if the adapter changes no layer of the model, or one that the model does not have."""
        if self.fitting and not self.misfitting:
            return
        if not self.fitting and not self.misfitting:
            raise UserError(f"{file} holds no weights of a LoRA adapter. {_REMEDY}")
        count = len(self.fitting) + len(self.misfitting)
        if self.fitting:
            fits = f"{len(self.fitting)} of its {count} layers fit ({_some(self.fitting)}), and"
            layers = f"{fits} {len(self.misfitting)} do not ({_some(self.misfitting)})"
        else:
            layers = f"None of its {count} layers fits ({_some(self.misfitting)})"
        raise UserError(f"{file} is an adapter of another model than {model}. {layers}. {_REMEDY}")


def _some(names: Sequence[str], shown: int = 2) -> str:
    listed = ", ".join(names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"


def fit(shapes: Shapes, model: Shapes, *, underscores: bool = False) -> Fit:
    """Compare the layers of an adapter with those of one network.

    Args:
        shapes: name -> shape of each tensor of the adapter, without the prefix of the network.
        model: name -> shape of each weight of the network.
        underscores: the names of the adapter have `_` in place of `.`.
    """
    layers = {name.removesuffix(".weight"): shape for name, shape in model.items() if name.endswith(".weight")}
    if underscores:
        layers = {name.replace(".", "_"): shape for name, shape in layers.items()}
    fits: dict[str, bool] = {}
    parts: dict[str, set[str]] = {}
    for key, shape in shapes.items():
        target, part = _parsed(key)
        parts.setdefault(target, set()).add(part)
        fits[target] = fits.get(target, True) and target in layers and _has_shape(part, shape, layers[target])
    fits = {target: good and _is_complete(parts[target]) for target, good in fits.items()}
    fitting = tuple(name for name, good in fits.items() if good)
    return Fit(fitting, tuple(name for name, good in fits.items() if not good))


def _parsed(key: str) -> tuple[str, str]:
    """Return the layer and the part of a key; a key of an unknown form is a layer without a part."""
    if match := _OLD_KEY.fullmatch(key):
        layer = "to_out.0" if match["layer"] == "to_out" else match["layer"]
        return f"{match['target']}.{layer}", match["part"]
    match = _KEY.fullmatch(key)
    return (match["target"], match["part"]) if match else (key, "")


def _is_complete(parts: set[str]) -> bool:
    """Return whether a layer has both low-rank factors, or the factors of LoKr. One factor alone changes nothing."""
    has_first, has_second = bool(parts & set(_FIRST)), bool(parts & set(_SECOND))
    return (has_first and has_second) or any(part.startswith("lokr_") for part in parts)


def _has_shape(part: str, shape: Sequence[int], layer: Sequence[int]) -> bool:
    """Return whether a low-rank factor has the input or output size of its layer."""
    if len(layer) < 2 or len(shape) < 2:
        return True
    if part in _FIRST:
        return shape[1] == layer[1]
    return shape[0] == layer[0] if part in _SECOND else True


def check_adapter_file(adapter: AdapterConfig, weights: PinnedWeights, model: ModelConfig, base: PinnedWeights) -> None:
    """Compare the headers of an adapter and its model; do nothing if they give no certain result.

    Args:
        adapter: the adapter in the recipe.
        weights: the resolved adapter.
        model: the model in the recipe.
        base: the resolved model.

    Raises:
        UserError: the file is damaged, or the adapter does not fit the denoiser of the model.
    """
    file = _local_file(adapter, weights)
    if file is None:
        return
    check_file(file, _shown(adapter, file.name))
    with library_errors(f"{_shown(adapter, file.name)} cannot be read as safetensors", "Download the adapter again"):
        header = read_header(file)
        check_lora_settings(header.metadata.get(_SETTINGS, "{}"))
    shapes = {key: entry.shape for key, entry in header.tensors.items()}
    if not shapes:
        Fit((), ()).require_all(_shown(adapter, file.name), model.path)
    for name in DENOISERS:
        network = _network_shapes(base, name)
        if not network:
            continue
        own = {key.removeprefix(f"{name}."): shape for key, shape in shapes.items() if key.startswith(f"{name}.")}
        if own and all(_KEY.fullmatch(key) or _OLD_KEY.fullmatch(key) for key in own):
            fit(own, network).require_all(_shown(adapter, file.name), model.path)
        blocks = {match["target"]: shape for key, shape in shapes.items() if (match := _KOHYA_BLOCKS.fullmatch(key))}
        if blocks and name == "unet":
            fit(blocks, network, underscores=True).require_all(_shown(adapter, file.name), model.path)


def _shown(adapter: AdapterConfig, file: str) -> str:
    return adapter.path if adapter.path.endswith(file) else f"{adapter.path} ({file})"


def _local_file(adapter: AdapterConfig, weights: PinnedWeights) -> Path | None:
    """Return the weights file of an adapter on this machine; None if it is not here, or diffusers chooses it."""
    if weights.local is not None and weights.local.is_file():
        return weights.local
    name = adapter.weight_name or adapter_file(weights, local=True)
    if weights.local is not None:
        return _file_to_load(adapter, weights)
    return None if name is None else weights_access.cached_file(weights.location, weights.revision, name)


def _network_shapes(base: PinnedWeights, name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a component of the model from its files on this machine; {} if they are not all here."""
    folder = base.local
    if folder is None:
        folder = weights_access.cached_snapshot(base.location, base.revision or "")
    if folder is None or not (folder / name / "config.json").is_file():
        return {}
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        files = sorted((folder / name).glob("*.safetensors"))
        for file in files:
            shapes |= read_shapes(file)
    except Exception:  # damaged weights are reported when they are loaded
        return {}
    # Some files of a sharded model may not be downloaded yet.
    parts = {int(match[1]) for file in files if (match := re.search(r"-\d{5}-of-(\d{5})\.", file.name))}
    return {} if any(len(files) < count for count in parts) else shapes


def adapter_file(weights: PinnedWeights, *, local: bool = False) -> str | None:
    """Returns the name of the weights file in an adapter's repository.

    If it gets no name, diffusers requests the list of files from the Hub, even in offline mode.

    Args:
        weights: the resolved adapter.
        local: choose the file of a local folder too.

    Returns:
        The only weights file, or among several the one named ADAPTER_FILE. None for a local adapter, or if there is no
        such file. diffusers then chooses a file.
    """
    if not weights.revision and not local:
        return None
    names = [name for name in weights_access.file_names(weights) if name.endswith(".safetensors")]
    if len(names) != 1:
        names = [name for name in names if name == ADAPTER_FILE]
    return names[0] if names else None


def add_adapters(pipeline: Any, model: ModelConfig) -> None:
    """Loads the LoRA adapters in the order of the recipe, each from one checked safetensors file.

    Raises:
        UserError: an adapter cannot be read, or one of its layers does not fit the pipeline.
    """
    names = []
    for number, adapter in enumerate(model.adapters):
        weights = weights_access.resolve_weights(adapter.path, adapter.revision, "adapter", identify=False)
        file = _file_to_load(adapter, weights)
        with file_view(file, _shown(adapter, file.name)) as view:
            options = {"weight_name": file.name, "use_safetensors": True, "local_files_only": True}
            with library_errors(f"{adapter.path} cannot be loaded as a LoRA adapter of {model.path}", _REMEDY):
                check_lora_settings(read_header(file).metadata.get(_SETTINGS, "{}"))
                layers = check_adapter(pipeline, adapter, model, str(view), options)
                pipeline.load_lora_weights(str(view), adapter_name=f"adapter_{number}", **options)
            _require_all_loaded(pipeline, layers, f"adapter_{number}", _shown(adapter, file.name), model.path)
        names.append(f"adapter_{number}")
    if names:
        pipeline.set_adapters(names, [adapter.scale for adapter in model.adapters])


def _file_to_load(adapter: AdapterConfig, weights: PinnedWeights) -> Path:
    """Returns the weights file of an adapter, which is downloaded if it is missing.

    Raises:
        UserError: it is not clear which file is meant, or the file is not safetensors or cannot be downloaded.
    """
    if weights.local is not None and weights.local.is_file():
        return weights.local
    name = adapter.weight_name or adapter_file(weights, local=True)
    if name is None:
        raise UserError(
            f"{adapter.path} has several safetensors files, or none. Name the file in weight_name of model.adapters"
        )
    if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
        raise UserError(f"{adapter.path}: weight_name is {name!r}, which is not inside it. {_REMEDY}")
    if not name.endswith(".safetensors"):
        raise UserError(f"{adapter.path}: weight_name is {name}, not a .safetensors file. {_REMEDY}")
    if weights.local is not None:
        files = list_files(weights.local, adapter.path)
        if name not in files:
            raise UserError(f"{adapter.path} has no file {name!r}. Correct weight_name of model.adapters")
        return weights.local / name
    cached = weights_access.cached_file(weights.location, weights.revision, name)
    if cached is not None:
        return cached
    with weights_access.downloading(f"{adapter.path}/{name}"):
        return weights_access.download_file(weights, name)


def check_adapter(
    pipeline: Any, adapter: AdapterConfig, model: ModelConfig, location: str, options: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Compare the layers of an adapter, in the names that diffusers converts them to, with those of the pipeline.

    Returns:
        Name of each network that the adapter changes -> names of the changed layers.

    Raises:
        UserError: a layer does not fit.
    """
    configuration = getattr(getattr(pipeline, "unet", None), "config", None)
    further = {"unet_config": configuration} if configuration is not None else {}
    tensors = pipeline.lora_state_dict(location, **options, **further)
    tensors = tensors[0] if isinstance(tensors, tuple) else tensors
    found: list[Fit] = []
    layers: dict[str, tuple[str, ...]] = {}
    rest = dict(tensors)
    for name in getattr(pipeline, "_lora_loadable_modules", ()):
        network = getattr(pipeline, name, None)
        own = {key.removeprefix(f"{name}."): rest.pop(key) for key in list(rest) if key.startswith(f"{name}.")}
        if not own:
            continue
        own = _converted(own, is_text_encoder=name not in DENOISERS, network=network)
        compared = fit(_shapes(own.items()), {} if network is None else _shapes(network.state_dict().items()))
        layers[name] = compared.fitting
        found.append(
            Fit(
                tuple(f"{name}.{layer}" for layer in compared.fitting),
                tuple(f"{name}.{layer}" for layer in compared.misfitting),
            )
        )
    others = dict.fromkeys(_parsed(key)[0] for key in rest)
    fitting = [layer for part in found for layer in part.fitting]
    misfitting = [layer for part in found for layer in part.misfitting]
    Fit(tuple(fitting), (*misfitting, *others)).require_all(
        _shown(adapter, str(options.get("weight_name") or "")), model.path
    )
    return layers


def _require_all_loaded(pipeline: Any, layers: Mapping[str, tuple[str, ...]], name: str, file: str, model: str) -> None:
    """Raise UserError if a layer of an adapter was not added to its network."""
    fitting: list[str] = []
    ignored: list[str] = []
    for network, targets in layers.items():
        stored = {
            key.partition(".lo")[0] for key, _ in getattr(pipeline, network).named_parameters() if f".{name}" in key
        }
        for target in targets:
            (fitting if target in stored else ignored).append(f"{network}.{target}")
    Fit(tuple(fitting), tuple(ignored)).require_all(file, model)


def _converted(tensors: dict[str, Any], *, is_text_encoder: bool, network: Any) -> dict[str, Any]:
    """Return the tensors of one network under the names that diffusers uses when it loads them."""
    from diffusers.utils.state_dict_utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    if is_text_encoder:
        tensors = convert_state_dict_to_peft(convert_state_dict_to_diffusers(tensors))
        flat = not hasattr(network, "text_model")
        return {key.removeprefix("text_model.") if flat else key: tensor for key, tensor in tensors.items()}
    is_peft = any("lora_A" in key or ".lokr_" in key for key in tensors)
    return tensors if is_peft else convert_unet_state_dict_to_peft(tensors)


def _shapes(tensors: Iterable[tuple[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of each tensor. A layer with an adapter has the name that it had before the adapter."""
    return {key.replace(".base_layer.", "."): tuple(tensor.shape) for key, tensor in tensors}
