"""Pipelines: loads and downloads the diffusers pipeline of a recipe.

Owns precision, scheduler, adapters and offload. The values that `auto` and null mean are in model_resolution.py,
sampling is in diffusion.py, the rules for weights in weights_access.py, and the arguments for guidance in guidance.py.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from packaging.version import Version

from diffcore_hf.config.augment import ModelConfig, SchedulerConfig
from diffcore_hf.core.hub_cache import record_commit
from diffcore_hf.models import cosxl, weights_access
from diffcore_hf.models.adapters import add_adapters
from diffcore_hf.models.components import load_components
from diffcore_hf.models.file_contents import read_object
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.model_resolution import check_scheduler, image_to_image_class, resolve_model
from diffcore_hf.models.model_views import model_view
from diffcore_hf.models.pipeline_index import components_of
from diffcore_hf.models.runtime import DTYPES, pick_device, quiet_loading
from diffcore_hf.models.weights_access import PinnedWeights

logger = logging.getLogger(__name__)

OFFLOAD_ABOVE = 0.8
"""`offload: auto` means `model` if the weights need more than this share of the GPU memory."""
SMALL_CARD = 12 * 2**30
"""`vae_slicing: auto` means `on` for a GPU with less memory than this, in bytes."""


Task = Literal["text_to_image", "image_to_image", "edit"]


def load_pipeline(
    model: ModelConfig, task: Task = "text_to_image", *, extend: Callable[[Any], Any] | None = None
) -> Any:
    """Loads the diffusers pipeline of a resolved model onto its device, with its safety checker if it has one.

    Args:
        model: the resolved model.
        task: image_to_image: the image-to-image pipeline of the same family, with the same weights and adapters.
            edit: the editing pipeline that the model names.
        extend: function from the pipeline to another one with further weights. It is called before the weights are
            moved to the device.

    Raises:
        UserError: the files are not a pipeline that diffusers can load for this task.
    """
    device = pick_device(model.device)
    with quiet_loading():
        if model.family_preset == "cosxl":
            pipeline = cosxl.load_cosxl(model, dtype_of(model))
        else:
            pipeline = _load_folder(model, task)
        _set_scheduler(pipeline, model.scheduler)
        add_adapters(pipeline, model)
        if task == "image_to_image":
            pipeline = _image_to_image(pipeline, model)
        if extend is not None:
            pipeline = extend(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    if model.attention == "slicing":
        pipeline.enable_attention_slicing()
    _move(pipeline, model, device)
    return pipeline


def fetch_model(config: ModelConfig) -> list[PinnedWeights]:
    """Downloads a model and its adapters and pins their commits. Files that this machine does not need are left out.

    Returns:
        The weights of the model, then the weights of each adapter. Local weights are included.
    """
    model, _ = resolve_model(config, identify=False)
    if model.family_preset == "cosxl":
        fetched = [cosxl.fetch_cosxl(model)]
    else:
        weights = weights_access.resolve_weights(model.path, model.revision)
        if weights.revision is not None:
            with weights_access.downloading(weights.location):
                diffusers.DiffusionPipeline.download(
                    weights.location, revision=weights.revision, variant=model.variant, use_safetensors=True
                )
                with contextlib.suppress(EntryNotFoundError):
                    hf_hub_download(weights.location, "README.md", revision=weights.revision)
        fetched = [weights]
    record_commit(fetched[0].location, config.revision, fetched[0].revision)
    for named, pinned in zip(config.adapters, model.adapters, strict=True):
        fetched.append(weights_access.fetch_weights(named.path, pinned.revision, "adapter"))
        record_commit(fetched[-1].location, named.revision, fetched[-1].revision)
    return fetched


def _load_folder(model: ModelConfig, task: Task) -> Any:
    """Loads the components from checked files, and builds the pipeline from them."""
    weights = weights_access.resolve_weights(model.path, model.revision, "pipeline", identify=False)
    with model_view(_pipeline_folder(weights, model), model.path) as view:
        index = read_object(view / "model_index.json")
        kind = "editing" if task == "edit" else "text-to-image"
        errors = f"{model.path} cannot be loaded as a {kind} pipeline", "Give another model, or download it again"
        with library_errors(*errors):
            cls: Any = getattr(diffusers, index["_class_name"])
            accepted = inspect.signature(cls).parameters
        named = {name: each for name, each in components_of(index, model.path).items() if name in accepted}
        components = load_components(named, view, model.path, DTYPES[model.dtype], model.variant)
        options = {"add_watermarker": False} if "add_watermarker" in accepted else {}
        loader = cls if task == "edit" else diffusers.AutoPipelineForText2Image
        with library_errors(*errors):
            return loader.from_pretrained(str(view), local_files_only=True, **components, **options)


def _pipeline_folder(weights: PinnedWeights, model: ModelConfig) -> Path:
    """Returns the folder with the files of a pipeline. The files of a repository are downloaded if they are missing."""
    if weights.local is not None:
        return weights.local
    with weights_access.downloading(weights.location):
        return Path(
            diffusers.DiffusionPipeline.download(
                weights.location, revision=weights.revision, variant=model.variant, use_safetensors=True
            )
        )


def _image_to_image(pipeline: Any, model: ModelConfig) -> Any:
    """Returns the image-to-image pipeline of the family. It shares the modules, so there is no second copy of weights.

    The pipeline is not on its device yet, because the hooks of an offload belong to one pipeline.
    """
    name = image_to_image_class(type(pipeline).__name__, model.path)
    accepted = inspect.signature(getattr(diffusers, name)).parameters
    options = {"add_watermarker": False} if "add_watermarker" in accepted else {}
    with library_errors(f"{model.path} cannot be used for image-to-image", "Give another model"):
        return diffusers.AutoPipelineForImage2Image.from_pipe(pipeline, **options)


def dtype_of(model: ModelConfig) -> dict[str, torch.dtype]:
    """Returns the keyword argument for the precision; its name changed in diffusers 0.42."""
    name = "dtype" if Version(diffusers.__version__) >= Version("0.42") else "torch_dtype"
    return {name: DTYPES[model.dtype]}


def _set_scheduler(pipeline: Any, scheduler: SchedulerConfig | None) -> None:
    if scheduler is None or (type(pipeline.scheduler).__name__ == scheduler.name and not scheduler.options):
        return
    check_scheduler(scheduler)
    cls = getattr(diffusers, scheduler.name)
    with library_errors(f"model.scheduler {scheduler.name} cannot be built", "Correct model.scheduler.options"):
        pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **(scheduler.options or {}))


def _move(pipeline: Any, model: ModelConfig, device: torch.device) -> None:
    """Moves a pipeline to the device, or sets up its offload to the CPU if the device is a GPU."""
    small = False
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        small = memory < SMALL_CARD
        _move_to_gpu(pipeline, model, device, memory)
    else:
        pipeline.to(device)
    slicing = model.vae_slicing == "on" or (model.vae_slicing == "auto" and small)
    if slicing and hasattr(pipeline.vae, "enable_slicing"):
        pipeline.vae.enable_slicing()


def _move_to_gpu(pipeline: Any, model: ModelConfig, device: torch.device, memory: int) -> None:
    offload = model.offload
    if offload == "auto":
        modules = [module for module in pipeline.components.values() if isinstance(module, torch.nn.Module)]
        weights = sum(_bytes(module) for module in modules)
        offload = "model" if weights > OFFLOAD_ABOVE * memory else "none"
        logger.info("%s: %.1f GB of weights, offload %s", model.path, weights / 2**30, offload)
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)


def _bytes(module: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
