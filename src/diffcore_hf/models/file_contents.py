"""Contents of the files of a model: checks of JSON files, indexes and headers, without torch.

Owns the rules for configurations from an unknown author. A configuration may not name code, kernels, another model or
a file outside the folder, and its numbers must be possible for a model. Which files are read at all is in
model_files.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.models.safetensors_headers import Header, read_header

LARGEST_SIDE = 2048
"""Largest side in pixels of the input of an image tower."""

_REMEDY = "Use another model, or download this one again"
_LARGEST_PARSED = 2**23
"""Largest JSON file in bytes that is parsed here. A larger vocabulary is parsed by its library only."""
_DEEPEST = 32
_LARGEST_NUMBER = 10**8
_MOST_STEPS = 10**5
_MOST_PATCHES = 2**14
_LONGEST_LIST = 10**5
_ATTENTION = ("eager", "sdpa")
_PLAIN_NAME = re.compile(r"\w[\w.-]*")

_CODE_KEYS = frozenset(
    {
        *("transformers_weights", "base_model_name_or_path", "fusion_config", "kernel_config", "use_kernels"),
        *("distributed_config", "gguf_file", "custom_pipeline", "backbone", "compression_config"),
    }
)
"""Keys that make a library read another model or other files, or load compiled code."""
_LORA_CODE_KEYS = frozenset(
    {"megatron_config", "auto_mapping", "loftq_config", "eva_config", "corda_config", "arrow_config"}
)
"""Keys of an adapter's settings that import a module by name or compute a decomposition."""
_ATTENTION_KEYS = re.compile(r"_?(attn|experts)_implementation(_internal)?")
_TIMM_KEYS = frozenset(
    {
        *("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
        *("scriptable", "exportable", "no_jit", "pretrained_strict", "pretrained_filter_fn", "pretrained_model_args"),
    }
)
"""Arguments of timm.create_model that name weights or files."""
_TOKENIZER_FILE = re.compile(r"\w*_(file|spm)|init_inputs")
_SIZE_KEYS = ("size", "crop_size", "pad_size")


def read_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        ValueError: the file is not JSON or not a JSON object, or it is too large or nested too deeply.
        OSError: the file cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing or is not a regular file")
    if path.stat().st_size > _LARGEST_PARSED:
        raise ValueError(f"{path.name} has more than {_LARGEST_PARSED // 2**20} MiB")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    if _depth(content) > _DEEPEST:
        raise ValueError(f"{path.name} is nested too deeply")
    return content


def check_contents(files: Mapping[str, Path], shown: str) -> None:
    """Checks the JSON files, the indexes and the headers of a model.

    Args:
        files: the files that a library may read: name relative to the folder -> path.
        shown: path of the model for errors.

    Raises:
        UserError: a file is damaged, or a configuration names code, another model or an impossible number.
    """
    headers: dict[str, Header] = {}
    for name, path in files.items():
        if name.endswith(".safetensors"):
            headers[name] = check_weights(path, f"{shown}: {name}")
    for name, path in files.items():
        if not name.endswith(".json") or path.stat().st_size > _LARGEST_PARSED:
            continue
        content = _object(path, name, shown)
        if ".safetensors.index." in name:
            _check_index(content, name, headers, shown)
        elif name.endswith("config.json"):
            folder = name.rpartition("/")[0]
            count = sum(len(header.tensors) for file, header in headers.items() if file.rpartition("/")[0] == folder)
            check_config(content, name, shown, tensors=count)


def check_weights(file: Path, shown: str) -> Header:
    """Returns the header of a weights file.

    Raises:
        UserError: the file is not a complete safetensors file.
    """
    try:
        return read_header(file)
    except (ValueError, OSError) as error:
        raise UserError(
            f"{shown} cannot be read as safetensors: {innermost_cause(error)}. Download the model again"
        ) from error


def check_config(content: Mapping[str, Any], name: str, shown: str, *, tensors: int = 0) -> None:
    """Checks the values of a configuration.

    Args:
        content: the configuration.
        name: name of its file.
        shown: path of the model for errors.
        tensors: number of tensors beside it. A model has at most so many layers; 0: the number is not known.

    Raises:
        UserError: a key names code, kernels, another model or other files, or a number is impossible.
    """
    if name.endswith("tokenizer_config.json"):
        return
    for key, value in _items(content):
        if fault := _reference_fault(key, value) or _number_fault(key, value, tensors):
            raise UserError(f"{shown}: {name} has {key}: {_short(value)}, {fault}. {_REMEDY}")
    timm_arguments = content.get("model_args")
    if isinstance(timm_arguments, Mapping) and (named := sorted(_TIMM_KEYS & timm_arguments.keys())):
        raise UserError(f"{shown}: {name} has model_args.{named[0]}, which would read other weights. {_REMEDY}")
    if name.endswith("preprocessor_config.json"):
        _check_sides(content, name, shown)


def check_lora_settings(text: str) -> None:
    """Checks the settings of an adapter, which peft reads from the header of its file.

    Raises:
        ValueError: they are not a JSON object, or they name code, or a computation on the weights of the model.
    """
    try:
        settings = json.loads(text)
    except RecursionError:
        raise ValueError("the settings in its header are nested too deeply") from None
    if not isinstance(settings, dict) or _depth(settings) > _DEEPEST:
        raise ValueError("the settings in its header are not an object, or are nested too deeply")
    for key, value in settings.items():
        name = str(key).rpartition(".")[2]
        is_plain = isinstance(value, bool) or value in (None, "gaussian")
        if (name in _LORA_CODE_KEYS and value) or (name == "init_lora_weights" and not is_plain):
            raise ValueError(f"the settings in its header have {key}: {_short(value)}, which is not used")


def safe_tokenizer_config(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a tokenizer's configuration without the keys that name files. Its files are those of the folder."""
    return {key: value for key, value in content.items() if not _TOKENIZER_FILE.fullmatch(key)}


def _check_sides(content: Mapping[str, Any], name: str, shown: str) -> None:
    """Raise UserError if an image processor makes images of more than LARGEST_SIDE pixels a side."""
    for key in _SIZE_KEYS:
        size = content.get(key)
        sides = list(size.values()) if isinstance(size, Mapping) else [size]
        for side in sides:
            if isinstance(side, (int, float)) and not 0 <= side <= LARGEST_SIDE:
                raise UserError(
                    f"{shown}: {name} has {key}: {_short(size)}, but its image processor makes images of at most "
                    f"{LARGEST_SIDE} pixels a side. {_REMEDY}"
                )


def _reference_fault(key: str, value: Any) -> str:
    """Returns why a key is refused; "" if it is not."""
    if _ATTENTION_KEYS.fullmatch(key):
        named = list(value.values()) if isinstance(value, Mapping) else [value]
        is_plain = all(each is None or each in _ATTENTION for each in named)
        return "" if is_plain else "which can load a kernel; only eager and sdpa are accepted"
    if key in _CODE_KEYS and value not in (None, False, {}, []):
        return "which can load code or another model"
    if key == "quantization_config" and value:
        method = value.get("quant_method") if isinstance(value, Mapping) else None
        return "" if method == "bitsandbytes" else "a quantisation that can load code"
    if key == "architecture" and value is not None and not _PLAIN_NAME.fullmatch(str(value)):
        return "which is not the name of a network"
    return ""


def _number_fault(key: str, value: Any, tensors: int) -> str:
    """Returns why a number or a list is impossible in a configuration; "" if it is possible."""
    limit = _limit(key, tensors)
    most = min(_LONGEST_LIST, limit)
    if isinstance(value, list) and len(value) > most:
        return f"a list of {len(value):,} values, more than {most:,}"
    numbers = value if isinstance(value, list) else [value]
    kinds = (int,) if limit == _LARGEST_NUMBER else (int, float)
    largest = max((abs(number) for number in numbers if type(number) in kinds), default=0)
    if "theta" in key or key.endswith(("_id", "_ids", "seed")):
        return "" if largest < 2**63 else "a number that is too large"
    return "" if largest <= limit else f"a number above {limit:,}, which is too large"


def _limit(key: str, tensors: int) -> int:
    if key == "num_train_timesteps":
        return _MOST_STEPS
    if key == "max_num_patches":
        return _MOST_PATCHES
    # Each layer has at least one tensor.
    if tensors and re.search(r"layers|depths?$|blocks?(_|$)", key):
        return max(tensors, 100)
    return _LARGEST_NUMBER


def _items(content: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yields each key of nested objects with its value."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield str(key), value
            yield from _items(value, depth + 1)
    elif isinstance(content, list):
        for value in content:
            if isinstance(value, (Mapping, list)):
                yield from _items(value, depth + 1)


def _depth(content: Any) -> int:
    """Returns the depth of nested objects and lists, at most `_DEEPEST` + 1."""
    level, depth = [content], 0
    while level and depth <= _DEEPEST:
        depth += 1
        children = [each.values() if isinstance(each, dict) else each for each in level]
        level = [value for values in children for value in values if isinstance(value, (dict, list))]
    return depth


def _object(path: Path, name: str, shown: str) -> dict[str, Any]:
    try:
        return read_object(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{shown}: {name} cannot be read: {innermost_cause(error)}. {_REMEDY}") from error


def _check_index(content: Mapping[str, Any], name: str, headers: Mapping[str, Header], shown: str) -> None:
    """Checks that an index names safetensors files beside it, and tensors that these files have."""
    folder = name.rpartition("/")[0]
    tensors = content.get("weight_map")
    if not isinstance(tensors, dict) or not tensors:
        raise UserError(f"{shown}: {name} has no map of tensors (weight_map). {_REMEDY}")
    for tensor, file in tensors.items():
        if not isinstance(file, str) or "/" in file or "\\" in file or not file.endswith(".safetensors"):
            raise UserError(
                f"{shown}: {name} names {_short(file)}, which is not a safetensors file of its folder. {_REMEDY}"
            )
        header = headers.get(f"{folder}/{file}" if folder else file)
        if header is None:
            raise UserError(f"{shown}: {name} names {file}, which is missing. Download the model again")
        if tensor not in header.tensors:
            raise UserError(f"{shown}: {name} names {_short(tensor)}, which {file} does not have. {_REMEDY}")


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
