"""Components of a pipeline: each network is loaded from checked files, and none of its weights may be missing.

Owns the loading of one network, tokenizer, processor or scheduler from a view (model_views.py). The pipeline is built
from the components in pipelines.py, so that no library searches for files by itself.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from diffcore_hf.core.errors import UserError
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.loading_reports import compare_headers, report_of, without_weights
from diffcore_hf.models.pipeline_index import LIBRARIES, Component
from diffcore_hf.models.runtime import quiet_warnings

_REMEDY = "Give another model, or download it again"


def load_components(
    components: Mapping[str, Component], view: Path, shown: str, dtype: torch.dtype, variant: str | None
) -> dict[str, Any]:
    """Loads all components of a pipeline. The headers of all networks are checked before the first weights are read.

    Args:
        components: name -> library and class.
        view: folder with a sub-folder for each component.
        shown: path of the model for errors.
        dtype: precision of the networks.
        variant: variant of the weight files, used where a component has it.

    Raises:
        UserError: a component cannot be loaded, or lacks weights.
    """
    classes = {name: component_class(component, shown) for name, component in components.items()}
    if variant and not any(_has_variant(view / name, variant) for name in classes):
        raise UserError(f"{shown} has no weights of model.variant {variant!r}. Use --model.variant null")
    for name, cls in classes.items():
        if issubclass(cls, nn.Module):
            check_headers(cls, view / name, f"{shown}: {name}", variant)
    return {
        name: load_network(cls, view / name, f"{shown}: {name}", dtype=dtype, variant=variant)
        if issubclass(cls, nn.Module)
        else _load_other(cls, view / name, f"{shown}: {name}")
        for name, cls in classes.items()
    }


def component_class(component: Component, shown: str) -> Any:
    """Returns the class of a component from diffusers or transformers.

    Raises:
        UserError: there is no such class, or it is not a part of a pipeline.
    """
    library = component.library if component.library in LIBRARIES else f"diffusers.pipelines.{component.library}"
    name = component.name.replace("FeatureExtractor", "ImageProcessor") if library == "transformers" else component.name
    with library_errors(f"{shown}: {component.library} has no {component.name}", "Use another model"):
        cls = getattr(importlib.import_module(library), name)
    accepted = (
        *(diffusers.ModelMixin, diffusers.SchedulerMixin, transformers.PreTrainedModel),
        *(transformers.PreTrainedTokenizerBase, transformers.ProcessorMixin, transformers.ImageProcessingMixin),
    )
    if not inspect.isclass(cls) or not issubclass(cls, accepted):
        raise UserError(f"{shown}: {component.name} of {component.library} is not a part of a pipeline. {_REMEDY}")
    return cls


def load_network(
    cls: Any,
    folder: Path,
    shown: str,
    *,
    dtype: torch.dtype,
    variant: str | None = None,
    is_optional: Callable[[Any, str], bool] = lambda network, name: False,
    **options: Any,
) -> Any:
    """Loads a network of diffusers or transformers from a view, in evaluation mode.

    Args:
        cls: class of the network.
        folder: folder of the view with config.json and safetensors files.
        shown: path of the model, and name of the component, for errors.
        dtype: precision.
        variant: variant of the weight files; files without a variant are used if there are none of it.
        is_optional: function of (network, name of a missing weight) that returns whether the weight is not needed.
        options: further arguments of `from_pretrained`.

    Raises:
        UserError: the network cannot be loaded, or weights are missing, unexpected or of another shape.
    """
    is_transformers = issubclass(cls, transformers.PreTrainedModel)
    options |= {"dtype" if is_transformers else "torch_dtype": dtype, "use_safetensors": True}
    if variant and _has_variant(folder, variant):
        options["variant"] = variant
    with library_errors(f"{shown} cannot be loaded", _REMEDY), quiet_warnings():
        network, info = cls.from_pretrained(folder, output_loading_info=True, local_files_only=True, **options)
    ignored = {name for name in info["missing_keys"] if is_optional(network, name)}
    if is_transformers:
        ignored |= _names_of_saved_class(network, info["unexpected_keys"])
    report_of(info, ignored).require_complete(shown)
    return network


def check_headers(cls: Any, folder: Path, shown: str, variant: str | None = None, *, config: Any = None) -> None:
    """Compares the headers of the weight files with the network that config.json describes. No weights are read.

    Args:
        cls: class of the network.
        folder: folder of the view with config.json and safetensors files.
        shown: path of the model, and name of the component, for errors.
        variant: variant of the weight files.
        config: configuration of a network of transformers; None: it is read from the folder.

    Raises:
        UserError: there are no weights, or a tensor has another shape or type.
    """
    files = _weight_files(folder, variant)
    if not files:
        raise UserError(f"{shown} has no safetensors weights. {_REMEDY}")
    network = _empty_network(cls, folder, shown, config)
    if network is not None:
        prefix = str(getattr(cls, "base_model_prefix", ""))
        compare_headers(network, files, prefix=prefix).require_complete(shown)


def _empty_network(cls: Any, folder: Path, shown: str, config: Any) -> Any:
    """Returns the network without weights; None if its class cannot be built in this way, or it is quantised."""
    is_transformers = issubclass(cls, transformers.PreTrainedModel)
    with library_errors(f"{shown}: its config.json cannot be used", _REMEDY):
        if config is None:
            read = cls.config_class.from_pretrained if is_transformers else cls.load_config
            config = read(folder, local_files_only=True)
    settings = config.to_dict() if is_transformers else config
    if settings.get("quantization_config"):
        return None
    try:
        with without_weights():
            return cls(config) if is_transformers else cls.from_config(config)
    except (NotImplementedError, RuntimeError):  # the class reads values of tensors when it is built
        return None


def _names_of_saved_class(network: Any, unexpected: Collection[str]) -> set[str]:
    """Returns the unexpected weights that belong to a part which is not used.

    The files can contain a larger model, such as a tower with its text encoder or its classifier. The class of that
    model is in config.json.
    """
    if not unexpected:
        return set()
    named = getattr(transformers, str((getattr(network.config, "architectures", None) or [""])[0]), None)
    classifier = transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING.get(type(network.config), None)
    names: set[str] = set()
    for saved in (named, classifier):
        if inspect.isclass(saved) and issubclass(saved, transformers.PreTrainedModel) and type(network) is not saved:
            with contextlib.suppress(Exception), without_weights():  # the configuration may not describe this class
                names |= saved(network.config).state_dict().keys()
    return set(unexpected) & names


def _load_other(cls: Any, folder: Path, shown: str) -> Any:
    with library_errors(f"{shown} cannot be loaded", _REMEDY):
        return cls.from_pretrained(folder, local_files_only=True)


def _has_variant(folder: Path, variant: str) -> bool:
    return any(_is_of_variant(path, variant) for path in folder.glob("*.safetensors"))


def _is_of_variant(file: Path, variant: str) -> bool:
    return f".{variant}." in file.name or f".{variant}-" in file.name


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    """Returns the weight files that a library loads from a folder: those of the variant, or those without one."""
    files = sorted(folder.glob("*.safetensors"))
    if variant and _has_variant(folder, variant):
        return [path for path in files if _is_of_variant(path, variant)]
    plain = [path for path in files if path.name.count(".") == 1]
    return [path for path in plain if path.name.startswith(("model", "diffusion_pytorch_model"))] or plain
