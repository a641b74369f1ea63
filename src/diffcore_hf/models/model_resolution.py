"""Resolution of a text-to-image model: its commit, precision, scheduler, size and guidance, without its weights.

Owns the replacement of the values `auto` and null. Reads JSON files of the model and source files of the libraries.
Imports torch and diffusers only if these files do not give all values. Loading is in pipelines.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import replace
from importlib import metadata
from typing import Any, NotRequired, TypedDict

from diffcore_hf.config.augment import ModelConfig, SchedulerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import cosxl, library_classes, weights_access
from diffcore_hf.models.adapters import check_adapter_file
from diffcore_hf.models.devices import device_of, precision_for
from diffcore_hf.models.guidance import guidance_for, native_parameters, native_support
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.pipeline_index import check_components, components_of
from diffcore_hf.models.weights_access import HashCache, PinnedWeights, read_json

LARGEST_SIZE = 8192
"""Largest image side in pixels that the files of a model may state."""


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
    adapter_licences: NotRequired[list[str | None]]
    """Licence that the card of each adapter declares; absent without adapters."""


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
    dtype = precision_for(config.dtype, device_of(config.device))
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
        index = read_config(weights, "model_index.json")
        pipeline = _text_to_image_class(index, config.path)
        check_components(components_of(index, config.path), weights.local, config.path)
        variant = _pick_variant(config.variant, dtype, weights)
        size = config.size or _own_size(weights, index, pipeline)
        scheduler = config.scheduler or _own_scheduler(weights, index)
        distilled = _is_distilled(weights, index)
    check_scheduler(scheduler)
    family, guidance, takes_negatives = _resolve_guidance(config, pipeline, distilled)
    adapters = [
        weights_access.resolve_weights(a.path, a.revision, "adapter", hash_cache=hash_cache, identify=identify)
        for a in config.adapters
    ]
    for named, adapter in zip(config.adapters, adapters, strict=True):
        check_adapter_file(named, adapter, config, weights)
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
    if adapters:
        record["adapter_licences"] = [adapter.licence for adapter in adapters]
    return model, record


def _resolve_guidance(config: ModelConfig, pipeline: str, distilled: bool) -> tuple[str, GuidanceRecord, bool]:
    """Returns the family's name, the guidance argument, and whether a negative prompt changes the image.

    Args:
        config: the model.
        pipeline: class name in diffusers.
        distilled: whether the guidance is distilled into the UNet, so that a negative prompt has no effect.
    """
    try:
        family = guidance_for(pipeline, config.guidance)
    except UserError:
        _check_pipeline_name(pipeline, config.path)
        raise
    if family is None:
        takes_scale, takes_negatives = _native_parameters(pipeline, config.path)
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


def _native_parameters(name: str, path: str) -> tuple[bool, bool]:
    """Returns whether a pipeline takes a guidance_scale and a negative prompt with `guidance: native`."""
    known = library_classes.pipeline_class(name)
    if known is not None:
        return native_support(known.methods["__call__"])
    _check_pipeline_name(name, path)
    cls = _class_of_diffusers(name)
    if cls is None:
        raise _unknown_pipeline(name, path)
    return native_parameters(cls)


def _check_pipeline_name(name: str, path: str) -> None:
    """Raise UserError if diffusers has no pipeline of this name."""
    if not library_classes.is_defined("diffusers", "pipelines/**/pipeline_*.py", name):
        raise _unknown_pipeline(name, path)


def _unknown_pipeline(name: str, path: str) -> UserError:
    return UserError(f"{path}: diffusers {metadata.version('diffusers')} has no {name}. Use another model")


def image_to_image_class(pipeline: str, path: str) -> str:
    """Returns the name of the image-to-image class for the weights of a text-to-image class.

    Args:
        pipeline: class name in diffusers.
        path: path of the model, for the message.

    Raises:
        UserError: there is no such class, or it is an editing class, which has no strength.
    """
    name = (library_classes.image_to_image_classes() or _image_to_image_classes()).get(pipeline)
    if name is None or "strength" not in _call_parameters(name):
        raise UserError(
            f"{path}: diffusers {metadata.version('diffusers')} has no image-to-image pipeline for {pipeline}. Use "
            "--strategy.name text_to_image, or a model of another family, such as Stable Diffusion"
        )
    return name


def is_editing_class(pipeline: str) -> bool:
    """Returns whether the name of a pipeline of diffusers is that of an editing pipeline, which needs an image."""
    return re.search("InstructPix2Pix|Edit|Kontext", pipeline) is not None


def check_editing_class(pipeline: str, path: str) -> None:
    """Checks that a pipeline edits images by an instruction.

    Raises:
        UserError: the pipeline takes no image, or it is of another kind.
    """
    accepted = _call_parameters(pipeline)
    if "image" not in accepted or "strength" in accepted or "ControlNet" in pipeline:
        raise UserError(
            f"{path}: {pipeline} does not edit images by an instruction. Use an editing model, for example "
            "--model.path timbrooks/instruct-pix2pix, or --strategy.name image_to_image"
        )


def _image_to_image_classes() -> dict[str, str]:
    """Returns the same as `library_classes.image_to_image_classes`, read from the imported diffusers."""
    from diffusers.pipelines import auto_pipeline

    targets = auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING
    sources = auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING
    return {cls.__name__: targets[key].__name__ for key, cls in sources.items() if key in targets}


def _call_parameters(name: str) -> Collection[str]:
    """Returns the parameters of a pipeline of diffusers; none if it has no such pipeline."""
    known = library_classes.pipeline_class(name)
    if known is not None:
        return known.methods["__call__"]
    cls: Any = _class_of_diffusers(name)
    return () if cls is None else inspect.signature(cls.__call__).parameters


def read_config(weights: PinnedWeights, name: str) -> dict[str, Any]:
    """Reads a JSON file of a resolved folder or repository."""
    with library_errors(
        f"{weights.location} is not a diffusers pipeline: {name} cannot be read",
        "Give a folder or repository that save_pretrained wrote",
    ):
        return read_json(weights, name)


def _own_size(weights: PinnedWeights, index: dict[str, Any], pipeline: str) -> int:
    """Returns the image side that the model was trained for: the side of its latents times the scale of its VAE."""
    try:
        vae = read_config(weights, "vae/config.json")
        blocks = vae.get("block_out_channels") or vae["encoder_block_out_channels"]
        factor = 2 ** (len(blocks) - 1)
        if pipeline in (
            "FluxPipeline",
            "FluxKontextPipeline",
        ):  # The latent side of Flux is in code, not in a configuration.
            return 128 * factor
        denoiser = "unet" if "unet" in index else "transformer"
        side = read_config(weights, f"{denoiser}/config.json")["sample_size"]
        size = int(side[0] if isinstance(side, list) else side) * factor
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        size = 0
    if size <= 0:
        raise UserError(f"{weights.location}: its files do not state its image size. Give --model.size 1024")
    if size > LARGEST_SIZE:
        raise UserError(f"{weights.location}: its files state an image size of {size:,} pixels. Give --model.size 1024")
    return size


def _own_scheduler(weights: PinnedWeights, index: dict[str, Any]) -> SchedulerConfig:
    scheduler = components_of(index, weights.location).get("scheduler")
    if scheduler is None:
        raise UserError(
            f"{weights.location}: model_index.json names no scheduler. Give a folder or repository that "
            "save_pretrained wrote"
        )
    return SchedulerConfig(scheduler.name)


def _is_distilled(weights: PinnedWeights, index: dict[str, Any]) -> bool:
    """Returns whether the UNet is distilled: its guidance scale is an input, and a negative prompt has no effect."""
    return "unet" in index and read_config(weights, "unet/config.json").get("time_cond_proj_dim") is not None


def _pick_variant(variant: str | None, dtype: str, weights: PinnedWeights) -> str | None:
    """Returns the variant of the weight files.

    `auto` means fp16 in two cases: all files are fp16, or some are and the precision is float16.
    """
    if variant != "auto":
        return variant
    names = [name for name in weights_access.file_names(weights) if "/" in name and name.endswith(".safetensors")]
    halves = [name for name in names if ".fp16." in name]
    return "fp16" if halves and (dtype == "float16" or len(halves) == len(names)) else None


def check_scheduler(scheduler: SchedulerConfig) -> None:
    """Checks the class and the options of a scheduler.

    Raises:
        UserError: diffusers has no such scheduler, or the scheduler has no such option.
    """
    known = library_classes.scheduler_class(scheduler.name)
    parameters = set(known.methods["__init__"]) if known else _scheduler_parameters(scheduler.name)
    unknown = sorted(set(scheduler.options or {}) - parameters)
    if unknown:
        raise UserError(
            f"model.scheduler.options: {scheduler.name} has no option {unknown[0]!r}; its options are "
            f"{', '.join(sorted(parameters))}"
        )


def _scheduler_parameters(name: str) -> set[str]:
    """Returns the options of a scheduler class.

    Raises:
        UserError: diffusers has no such scheduler.
    """
    is_defined = library_classes.is_defined("diffusers", "schedulers/**/scheduling_*.py", name)
    cls = _class_of_diffusers(name) if is_defined else None
    if cls is None or "SchedulerMixin" not in [base.__name__ for base in cls.__mro__]:
        raise UserError(
            f"model.scheduler is {name!r}, which diffusers {metadata.version('diffusers')} does not have. "
            "Use a class name such as DPMSolverMultistepScheduler"
        )
    return set(inspect.signature(cls).parameters) - {"kwargs"}


def _class_of_diffusers(name: str) -> type | None:
    """Returns a class of diffusers; None if there is no such class. Imports diffusers only if the class may exist."""
    if library_classes.is_missing("diffusers", name):
        return None
    import diffusers

    cls = getattr(diffusers, name, None)
    return cls if inspect.isclass(cls) else None
