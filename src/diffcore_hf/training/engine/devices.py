"""Devices: builds the accelerator of a recipe, and counts the processes that load its images."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.config.mappings import to_yaml
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.runtime import pick_device, resolve_dtype

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(recipe: TrainRecipe, output: Path) -> Accelerator:
    """Build the accelerator: device, precision and trackers.

    Args:
        recipe: recipe of the training.
        output: folder for the files of trackers.

    Raises:
        UserError: the device cannot use the precision, or a tracker is not installed.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    for tracker in recipe.trackers:
        if find_spec(tracker) is None:
            raise UserError(f"trackers has {tracker!r}, which is not installed. Run: pip install {tracker}")
    device = pick_device(recipe.device, "device")
    if device.type == "cpu" and recipe.precision == "float16":
        raise UserError("precision is 'float16', which training on a CPU cannot use. Use --precision float32")
    precision = resolve_dtype("auto", device) if recipe.precision == "auto" else recipe.precision
    if recipe.deterministic:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    else:
        torch.backends.cudnn.benchmark = True
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision={"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[precision],
        log_with=list(recipe.trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output / "trackers")),
        step_scheduler_with_optimizer=False,
    )
    if recipe.trackers:
        accelerator.init_trackers("diffcore-hf", config={"recipe": to_yaml(recipe)})
    return accelerator


def workers(recipe: TrainRecipe) -> int:
    """Return the number of loader processes for each training process.

    This is the number in the recipe, if it has one. Otherwise it is 0 if decoded images are kept in memory, else one
    for each core, at most 8.
    """
    if recipe.workers is not None:
        return recipe.workers
    if recipe.cache == "memory":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    training_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(8, cores // training_processes))
