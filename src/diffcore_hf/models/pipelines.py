"""Text-to-image pipelines: from a recipe's model to a loaded one.

Owns what a model's `auto` and null fields become (without loading weights), and loading: precision, scheduler,
adapters, offload. Sampling is diffusion.py, what may be loaded door.py, how guidance is said guidance.py.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from packaging.version import Version

from diffcore_hf.config.augment import Model, Scheduler
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import cosxl, door
from diffcore_hf.models.door import HashCache, Resolved
from diffcore_hf.models.guidance import guidance_for, native_parameters
from diffcore_hf.models.runtime import DTYPES, is_out_of_memory, pick_device, quiet_loading, resolve_dtype

logger = logging.getLogger(__name__)

OFFLOAD_ABOVE = 0.8
SMALL_CARD = 12 * 2**30
ADAPTER_FILE = "pytorch_lora_weights.safetensors"


def resolve_model(
    config: Model, *, hash_cache: HashCache = None, identify: bool = True
) -> tuple[Model, dict[str, Any]]:
    """The model with every `auto` and null of an attempt field resolved for this machine; loads no weights.

    Returns:
        The resolved model (its revision a commit), and what to record: pipeline class, family, public path, identity,
        licence, guidance (argument and value; both None where a pipeline under `native` has no guidance_scale),
        takes_negatives (whether a negative prompt does anything), identities and public paths of adapters.

    Raises:
        UserError: nothing there, pickled weights, a family outside the guidance table, a precision this machine lacks.
    """
    dtype = resolve_dtype(config.dtype, pick_device(config.device))
    if config.family_preset == "cosxl":
        resolved = cosxl.resolve(config, hash_cache, identify)
        pipeline, variant, size = "StableDiffusionXLPipeline", None, config.size or 1024
        scheduler = config.scheduler or cosxl.SCHEDULER
    else:
        resolved = door.resolve(config.path, config.revision, "pipeline", hash_cache=hash_cache, identify=identify)
        if resolved.local is not None and resolved.local.is_file():
            raise UserError(
                f"{config.path}: a single file does not say what it is. Use --model.family_preset cosxl for CosXL, "
                "or a folder that save_pretrained wrote"
            )
        index = _read_config(resolved, "model_index.json")
        pipeline = _text_to_image_class(index, config.path)
        variant = _pick_variant(config.variant, dtype, resolved)
        size = config.size or _own_size(resolved, index, pipeline)
        scheduler = config.scheduler or Scheduler(index["scheduler"][1])
    _scheduler_class(scheduler)
    family = guidance_for(pipeline, config.guidance)
    distilled = config.family_preset is None and _is_distilled(resolved, index)
    if family is not None:
        if distilled:
            raise UserError(
                f"{config.path}: guidance is distilled into its UNet, so Eq. 4 cannot be. Use --model.guidance native"
            )
        argument, value, takes_negatives = family.argument, family.scale(config.gamma), True
    else:
        takes_scale, takes_negatives = native_parameters(_pipeline_class(pipeline, config.path))
        argument, value = ("guidance_scale", config.gamma) if takes_scale else (None, None)
        takes_negatives = takes_negatives and not distilled
    adapters = [
        door.resolve(a.path, a.revision, "adapter", hash_cache=hash_cache, identify=identify) for a in config.adapters
    ]
    model = replace(
        config,
        revision=resolved.revision,
        variant=variant,
        dtype=dtype,
        scheduler=scheduler,
        size=size,
        attention="native" if config.attention == "auto" else config.attention,
        adapters=tuple(replace(a, revision=r.revision) for a, r in zip(config.adapters, adapters, strict=True)),
    )
    info = {
        "pipeline": pipeline,
        "family": family.name if family else "native",
        "path": door.public_path(config.path, resolved),
        "identity": resolved.identity,
        "licence": resolved.licence,
        "guidance": {"argument": argument, "value": value},
        "takes_negatives": takes_negatives,
        "adapters": [adapter.identity for adapter in adapters],
        "adapter_paths": [
            door.public_path(named.path, adapter) for named, adapter in zip(config.adapters, adapters, strict=True)
        ],
    }
    return model, info


def load_pipeline(model: Model) -> Any:
    """The diffusers pipeline of a resolved model, on its device, silent, with the safety checker that it came with."""
    device = pick_device(model.device)
    with quiet_loading():
        try:
            pipeline = cosxl.load(model, _dtype(model)) if model.family_preset == "cosxl" else _load_folder(model)
        except (OSError, KeyError, ValueError, ImportError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(f"{model.path}: not loaded as a text-to-image pipeline: {reason}") from error
        _set_scheduler(pipeline, model.scheduler)
        _add_adapters(pipeline, model)
    pipeline.set_progress_bar_config(disable=True)
    if model.attention == "slicing":
        pipeline.enable_attention_slicing()
    _place(pipeline, model, device)
    return pipeline


def fetch_model(config: Model) -> list[Resolved]:
    """Downloads and pins a model and its adapters, those files alone that this machine will load.

    Returns:
        What was fetched, or lies here already.
    """
    model, _ = resolve_model(config, identify=False)
    if model.family_preset == "cosxl":
        fetched = [cosxl.fetch(model)]
    else:
        place = door.resolve(model.path, model.revision)
        if place.revision is not None:
            diffusers.DiffusionPipeline.download(
                place.location, revision=place.revision, variant=model.variant, use_safetensors=True
            )
            with contextlib.suppress(EntryNotFoundError):
                hf_hub_download(place.location, "README.md", revision=place.revision)
        fetched = [place]
    door.record_commit(fetched[0].location, config.revision, fetched[0].revision)
    for named, pinned in zip(config.adapters, model.adapters, strict=True):
        fetched.append(door.fetch(named.path, pinned.revision, "adapter"))
        door.record_commit(fetched[-1].location, named.revision, fetched[-1].revision)
    return fetched


def _load_folder(model: Model) -> Any:
    place = door.resolve(model.path, model.revision, "pipeline", identify=False)
    options: dict[str, Any] = {"revision": place.revision} if place.revision else {}
    if "StableDiffusionXL" in _read_config(place, "model_index.json")["_class_name"]:
        options["add_watermarker"] = False
    return diffusers.AutoPipelineForText2Image.from_pretrained(
        place.location, **_dtype(model), variant=model.variant, use_safetensors=True, **options
    )


def _dtype(model: Model) -> dict[str, torch.dtype]:
    """The keyword for the precision, whose name changed in diffusers."""
    name = "dtype" if Version(diffusers.__version__) >= Version("0.42") else "torch_dtype"
    return {name: DTYPES[model.dtype]}


def _text_to_image_class(index: dict, path: str) -> str:
    """The class that AutoPipelineForText2Image takes; a repository may name the family's image-to-image class."""
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise UserError(
            f"{path}: its pipeline is code of its own ({name}), which is never run. Use a diffusers pipeline"
        )
    return re.sub("Img2Img|Inpaint", "", name)


def _pipeline_class(name: str, path: str) -> type:
    """The class of diffusers by its name."""
    cls = getattr(diffusers, name, None)
    if not inspect.isclass(cls):
        raise UserError(f"{path}: diffusers {diffusers.__version__} has no {name}. Use another model")
    return cls


def _read_config(resolved: Resolved, name: str) -> dict:
    """A JSON file of a resolved folder or repository."""
    try:
        path = (
            resolved.local / name
            if resolved.local is not None
            else Path(hf_hub_download(resolved.location, name, revision=resolved.revision))
        )
        return json.loads(path.read_text())
    except Exception as error:
        raise UserError(
            f"{resolved.location}: no readable {name}, so no diffusers pipeline. Give a folder or repository that "
            "save_pretrained wrote"
        ) from error


def _own_size(resolved: Resolved, index: dict, pipeline: str) -> int:
    """The side that the model was made for: its latent side times the factor of its VAE."""
    try:
        vae = _read_config(resolved, "vae/config.json")
        blocks = vae.get("block_out_channels") or vae["encoder_block_out_channels"]
        factor = 2 ** (len(blocks) - 1)
        if pipeline == "FluxPipeline":  # keeps its latent side in code, not in its configuration
            return 128 * factor
        side = _read_config(resolved, "unet/config.json" if "unet" in index else "transformer/config.json")[
            "sample_size"
        ]
        return int(side[0] if isinstance(side, list) else side) * factor
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{resolved.location}: its own size is not in its files. Give --model.size 1024") from None


def _is_distilled(resolved: Resolved, index: dict) -> bool:
    """Whether the UNet takes the scale as an embedding (distilled for few steps), and so no second prompt."""
    return "unet" in index and _read_config(resolved, "unet/config.json").get("time_cond_proj_dim") is not None


def _pick_variant(variant: str | None, dtype: str, resolved: Resolved) -> str | None:
    """auto: fp16 where the precision is fp16 and there are such files, or where there are no others."""
    if variant != "auto":
        return variant
    weights = [name for name in door.file_names(resolved) if "/" in name and name.endswith(".safetensors")]
    halves = [name for name in weights if ".fp16." in name]
    return "fp16" if halves and (dtype == "float16" or len(halves) == len(weights)) else None


def _set_scheduler(pipeline: Any, scheduler: Scheduler | None) -> None:
    if scheduler is None or (type(pipeline.scheduler).__name__ == scheduler.name and not scheduler.options):
        return
    pipeline.scheduler = _scheduler_class(scheduler).from_config(pipeline.scheduler.config, **(scheduler.options or {}))


def _scheduler_class(scheduler: Scheduler) -> Any:
    """The class of diffusers that a recipe names, its options checked.

    Raises:
        UserError: no such scheduler, or no such option of it.
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
            f"model.scheduler.options: {scheduler.name} has no {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    return cls


def _add_adapters(pipeline: Any, model: Model) -> None:
    """LoRA adapters in order, from safetensors alone."""
    names = []
    for number, adapter in enumerate(model.adapters):
        place = door.resolve(adapter.path, adapter.revision, "adapter", identify=False)
        name = adapter.weight_name or _adapter_file(place)
        options = {"weight_name": name} if name else {}
        where = place.location
        if place.revision:
            options["revision"] = place.revision
        elif place.local.is_file():
            where, options["weight_name"] = str(place.local.parent), place.local.name
        try:
            pipeline.load_lora_weights(where, adapter_name=f"adapter_{number}", use_safetensors=True, **options)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{adapter.path}: not loaded as a LoRA adapter of {model.path}: {reason}") from error
        names.append(f"adapter_{number}")
    if names:
        pipeline.set_adapters(names, [adapter.scale for adapter in model.adapters])


def _adapter_file(place: Resolved) -> str | None:
    """The weights of an adapter's repository that names none: its only file, or the one that save_lora_weights writes.

    diffusers would ask the Hub, offline too, and for the newest commit. None leaves it the choice.
    """
    names = [name for name in door.file_names(place) if name.endswith(".safetensors")] if place.revision else []
    if len(names) != 1:
        names = [name for name in names if name == ADAPTER_FILE]
    return names[0] if names else None


def _place(pipeline: Any, model: Model, device: torch.device) -> None:
    """Onto the device, whole or in turns; a CPU has nothing to offload to."""
    small = False
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        small = memory < SMALL_CARD
        modules = [module for module in pipeline.components.values() if isinstance(module, torch.nn.Module)]
        weights = sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
        offload = model.offload
        if offload == "auto":
            offload = "model" if weights > OFFLOAD_ABOVE * memory else "none"
            logger.info("%s: %.1f GB of weights, offload %s", model.path, weights / 2**30, offload)
        if offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        elif offload == "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)
        else:
            pipeline.to(device)
    else:
        pipeline.to(device)
    if (model.vae_slicing == "on" or (model.vae_slicing == "auto" and small)) and hasattr(
        pipeline.vae, "enable_slicing"
    ):
        pipeline.vae.enable_slicing()
