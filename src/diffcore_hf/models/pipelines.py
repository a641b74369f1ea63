"""Text-to-image pipelines: resolves the model of a recipe and loads its diffusers pipeline.

Owns two steps. Resolution replaces the values `auto` and null of the recipe without loading weights. Loading sets
precision, scheduler, adapters and offload. Sampling is in diffusion.py, the rules for weights are in
weights_access.py, and the arguments for guidance are in guidance.py.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import diffusers
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from packaging.version import Version

from diffcore_hf.config.augment import ModelConfig, SchedulerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.hub_cache import record_commit
from diffcore_hf.models import cosxl, weights_access
from diffcore_hf.models.guidance import guidance_for, native_parameters
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.runtime import DTYPES, pick_device, quiet_loading, resolve_dtype
from diffcore_hf.models.weights_access import HashCache, PinnedWeights

logger = logging.getLogger(__name__)

OFFLOAD_ABOVE = 0.8
"""`offload: auto` means `model` if the weights need more than this share of the GPU memory."""
SMALL_CARD = 12 * 2**30
"""`vae_slicing: auto` means `on` for a GPU with less memory than this, in bytes."""
ADAPTER_FILE = "pytorch_lora_weights.safetensors"
"""File name that save_lora_weights writes."""


class GuidanceRecord(TypedDict):
    """Name and value of the pipeline's argument for the guidance scale; both None if it has no such argument."""

    argument: str | None
    value: float | None


class ModelRecord(TypedDict):
    """The record of a run's text-to-image model; the resolved configuration is recorded separately."""

    pipeline: str
    """Name of the pipeline's class in diffusers."""
    family: str
    """Name of the family in the guidance table, or `native`."""
    path: str
    """Path in the form that may be published."""
    identity: str
    licence: str | None
    guidance: GuidanceRecord
    takes_negatives: bool
    """Whether a negative prompt changes the image."""
    adapters: list[str]
    """Identity of each adapter."""
    adapter_paths: list[str]
    """Path of each adapter in the form that may be published."""


def resolve_model(
    config: ModelConfig, *, hash_cache: HashCache = None, identify: bool = True
) -> tuple[ModelConfig, ModelRecord]:
    """Replaces the values `auto` and null by values for this machine, without loading weights.

    Returns:
        The resolved model, whose revision is a commit, and its record.

    Raises:
        UserError: the model does not exist, has pickled weights or is not in the guidance table, or this machine does
            not support its precision.
    """
    dtype = resolve_dtype(config.dtype, pick_device(config.device))
    if config.family_preset == "cosxl":
        weights = cosxl.resolve_cosxl(config, hash_cache, identify)
        pipeline, variant, size, distilled = "StableDiffusionXLPipeline", None, config.size or 1024, False
        scheduler = config.scheduler or cosxl.SCHEDULER
    else:
        weights = weights_access.resolve_weights(
            config.path, config.revision, "pipeline", hash_cache=hash_cache, identify=identify
        )
        if weights.local is not None and weights.local.is_file():
            raise UserError(
                f"{config.path}: the family of a single file is unknown. Use --model.family_preset cosxl for CosXL, "
                "or a folder that save_pretrained wrote"
            )
        index = _read_config(weights, "model_index.json")
        pipeline = _text_to_image_class(index, config.path)
        variant = _pick_variant(config.variant, dtype, weights)
        size = config.size or _own_size(weights, index, pipeline)
        scheduler = config.scheduler or _own_scheduler(weights, index)
        distilled = _is_distilled(weights, index)
    _scheduler_class(scheduler)
    family, guidance, takes_negatives = _resolve_guidance(config, pipeline, distilled)
    adapters = [
        weights_access.resolve_weights(a.path, a.revision, "adapter", hash_cache=hash_cache, identify=identify)
        for a in config.adapters
    ]
    model = replace(
        config,
        revision=weights.revision,
        variant=variant,
        dtype=dtype,
        scheduler=scheduler,
        size=size,
        attention="native" if config.attention == "auto" else config.attention,
        adapters=tuple(replace(a, revision=r.revision) for a, r in zip(config.adapters, adapters, strict=True)),
    )
    record = ModelRecord(
        pipeline=pipeline,
        family=family,
        path=weights_access.public_path(config.path, weights),
        identity=weights.identity,
        licence=weights.licence,
        guidance=guidance,
        takes_negatives=takes_negatives,
        adapters=[adapter.identity for adapter in adapters],
        adapter_paths=[
            weights_access.public_path(named.path, adapter)
            for named, adapter in zip(config.adapters, adapters, strict=True)
        ],
    )
    return model, record


def _resolve_guidance(config: ModelConfig, pipeline: str, distilled: bool) -> tuple[str, GuidanceRecord, bool]:
    """Returns the family's name, the guidance argument, and whether a negative prompt changes the image.

    Args:
        config: the model.
        pipeline: class name in diffusers.
        distilled: whether the guidance is distilled into the UNet, so that a negative prompt has no effect.
    """
    family = guidance_for(pipeline, config.guidance)
    if family is None:
        takes_scale, takes_negatives = native_parameters(_pipeline_class(pipeline, config.path))
        record = GuidanceRecord(argument=None, value=None)
        if takes_scale:
            record = GuidanceRecord(argument="guidance_scale", value=config.gamma)
        return "native", record, takes_negatives and not distilled
    if distilled:
        raise UserError(
            f"{config.path}: guidance is distilled into its UNet, so Eq. 4 cannot be computed. "
            "Use --model.guidance native"
        )
    return family.name, GuidanceRecord(argument=family.argument, value=family.scale(config.gamma)), True


def load_pipeline(model: ModelConfig) -> Any:
    """Loads the diffusers pipeline of a resolved model onto its device, with its safety checker if it has one.

    Raises:
        UserError: the files are not a text-to-image pipeline that diffusers can load.
    """
    device = pick_device(model.device)
    with quiet_loading():
        if model.family_preset == "cosxl":
            pipeline = cosxl.load_cosxl(model, _dtype(model))
        else:
            pipeline = _load_folder(model)
        _set_scheduler(pipeline, model.scheduler)
        _add_adapters(pipeline, model)
    pipeline.set_progress_bar_config(disable=True)
    if model.attention == "slicing":
        pipeline.enable_attention_slicing()
    _move(pipeline, model, device)
    return pipeline


def fetch_model(config: ModelConfig) -> list[PinnedWeights]:
    """Downloads a model and its adapters and pins their commits. Files that this machine does not need are left out.

    Returns:
        The weights of the model, then those of each adapter. Local weights are included.
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


def _load_folder(model: ModelConfig) -> Any:
    weights = weights_access.resolve_weights(model.path, model.revision, "pipeline", identify=False)
    options: dict[str, Any] = {"revision": weights.revision} if weights.revision else {}
    if "StableDiffusionXL" in _read_config(weights, "model_index.json")["_class_name"]:
        options["add_watermarker"] = False
    options |= _dtype(model) | {"variant": model.variant, "use_safetensors": True}
    with library_errors(
        f"{model.path} cannot be loaded as a text-to-image pipeline", "Give another model, or download it again"
    ):
        return diffusers.AutoPipelineForText2Image.from_pretrained(weights.location, **options)


def _dtype(model: ModelConfig) -> dict[str, torch.dtype]:
    """Returns the keyword argument for the precision; its name changed in diffusers 0.42."""
    name = "dtype" if Version(diffusers.__version__) >= Version("0.42") else "torch_dtype"
    return {name: DTYPES[model.dtype]}


def _text_to_image_class(index: dict[str, Any], path: str) -> str:
    """Returns the name of the text-to-image class.

    A repository may name the image-to-image or inpainting class of the same model.
    """
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise UserError(
            f"{path}: its pipeline is code in the repository ({name}), which diffcore-hf never runs. Use a model whose "
            "pipeline is part of diffusers"
        )
    return re.sub("Img2Img|Inpaint", "", name)


def _pipeline_class(name: str, path: str) -> type:
    """Returns a pipeline class of diffusers by its name."""
    cls = getattr(diffusers, name, None)
    if not inspect.isclass(cls):
        raise UserError(f"{path}: diffusers {diffusers.__version__} has no {name}. Use another model")
    return cls


def _read_config(weights: PinnedWeights, name: str) -> dict[str, Any]:
    """Reads a JSON file of a resolved folder or repository."""
    with library_errors(
        f"{weights.location} is not a diffusers pipeline: {name} cannot be read",
        "Give a folder or repository that save_pretrained wrote",
    ):
        if weights.local is not None:
            path = weights.local / name
        else:
            path = Path(hf_hub_download(weights.location, name, revision=weights.revision))
        content: dict[str, Any] = json.loads(path.read_text())
    return content


def _own_size(weights: PinnedWeights, index: dict[str, Any], pipeline: str) -> int:
    """Returns the image side that the model was trained for: the side of its latents times the scale of its VAE."""
    try:
        vae = _read_config(weights, "vae/config.json")
        blocks = vae.get("block_out_channels") or vae["encoder_block_out_channels"]
        factor = 2 ** (len(blocks) - 1)
        if pipeline == "FluxPipeline":  # Its latent side is in code, not in its configuration.
            return 128 * factor
        denoiser = "unet" if "unet" in index else "transformer"
        side = _read_config(weights, f"{denoiser}/config.json")["sample_size"]
        return int(side[0] if isinstance(side, list) else side) * factor
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{weights.location}: its files do not state its image size. Give --model.size 1024") from None


def _own_scheduler(weights: PinnedWeights, index: dict[str, Any]) -> SchedulerConfig:
    try:
        return SchedulerConfig(index["scheduler"][1])
    except (KeyError, IndexError, TypeError):
        raise UserError(
            f"{weights.location}: model_index.json names no scheduler. Give a folder or repository that "
            "save_pretrained wrote"
        ) from None


def _is_distilled(weights: PinnedWeights, index: dict[str, Any]) -> bool:
    """Returns whether the UNet is distilled: its guidance scale is an input, and a negative prompt has no effect."""
    return "unet" in index and _read_config(weights, "unet/config.json").get("time_cond_proj_dim") is not None


def _pick_variant(variant: str | None, dtype: str, weights: PinnedWeights) -> str | None:
    """Returns the variant of the weight files.

    `auto` means fp16 in two cases: all files are fp16, or some are and the precision is float16.
    """
    if variant != "auto":
        return variant
    names = [name for name in weights_access.file_names(weights) if "/" in name and name.endswith(".safetensors")]
    halves = [name for name in names if ".fp16." in name]
    return "fp16" if halves and (dtype == "float16" or len(halves) == len(names)) else None


def _set_scheduler(pipeline: Any, scheduler: SchedulerConfig | None) -> None:
    if scheduler is None or (type(pipeline.scheduler).__name__ == scheduler.name and not scheduler.options):
        return
    cls = _scheduler_class(scheduler)
    with library_errors(f"model.scheduler {scheduler.name} cannot be built", "Correct model.scheduler.options"):
        pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **(scheduler.options or {}))


def _scheduler_class(scheduler: SchedulerConfig) -> Any:
    """Returns the scheduler class that a recipe names, after checking its options.

    Raises:
        UserError: diffusers has no such scheduler, or the scheduler has no such option.
    """
    cls = getattr(diffusers, scheduler.name, None)
    if not (inspect.isclass(cls) and issubclass(cls, diffusers.SchedulerMixin)):
        raise UserError(
            f"model.scheduler is {scheduler.name!r}, which diffusers {diffusers.__version__} does not have. "
            "Use a class name such as DPMSolverMultistepScheduler"
        )
    known = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
    unknown = sorted(set(scheduler.options or {}) - known)
    if unknown:
        raise UserError(
            f"model.scheduler.options: {scheduler.name} has no option {unknown[0]!r}; its options are "
            f"{', '.join(sorted(known))}"
        )
    return cls


def _add_adapters(pipeline: Any, model: ModelConfig) -> None:
    """Loads the LoRA adapters in the order of the recipe, from safetensors only."""
    names = []
    for number, adapter in enumerate(model.adapters):
        weights = weights_access.resolve_weights(adapter.path, adapter.revision, "adapter", identify=False)
        name = adapter.weight_name or _adapter_file(weights)
        options = {"weight_name": name} if name else {}
        location = weights.location
        if weights.revision:
            options["revision"] = weights.revision
        elif (file := Path(location)).is_file():
            location, options["weight_name"] = str(file.parent), file.name
        with library_errors(
            f"{adapter.path} cannot be loaded as a LoRA adapter of {model.path}",
            "Give an adapter that was trained for this model",
        ):
            pipeline.load_lora_weights(location, adapter_name=f"adapter_{number}", use_safetensors=True, **options)
        names.append(f"adapter_{number}")
    if names:
        pipeline.set_adapters(names, [adapter.scale for adapter in model.adapters])


def _adapter_file(weights: PinnedWeights) -> str | None:
    """Returns the name of the weights file in an adapter's repository.

    If it gets no name, diffusers requests the list of files from the Hub, even in offline mode.

    Returns:
        The only weights file, or among several the one named ADAPTER_FILE. None for a local adapter, or if there is no
        such file. diffusers then chooses a file.
    """
    if not weights.revision:
        return None
    names = [name for name in weights_access.file_names(weights) if name.endswith(".safetensors")]
    if len(names) != 1:
        names = [name for name in names if name == ADAPTER_FILE]
    return names[0] if names else None


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
