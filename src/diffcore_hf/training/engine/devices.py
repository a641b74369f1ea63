"""Devices: the accelerator of a recipe, and how many processes load its images."""

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
    """Devices, precision and trackers.

    Raises:
        UserError: a precision that this machine lacks, or a tracker that is not installed.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    for tracker in recipe.trackers:
        if find_spec(tracker) is None:
            raise UserError(f"trackers has {tracker!r}, which is not installed. Run: pip install {tracker}")
    device = pick_device(recipe.device)
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
    """Loader processes: as the recipe says; by itself none where images are in memory, else one a core, at most 8."""
    if recipe.workers is not None:
        return recipe.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return 0 if recipe.cache == "memory" else max(1, min(8, cores // here))
