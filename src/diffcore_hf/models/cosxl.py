"""CosXL: SDXL retrained with EDM's v-prediction, one file whose scheduler and configuration are not in it.

Owns what the preset adds to loading. Its weights are gated and for non-commercial research only, and the licence
reaches models trained on its output: never a default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
from huggingface_hub import hf_hub_download, snapshot_download

from diffcore_hf.config.augment import Model, Scheduler
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import door
from diffcore_hf.models.door import HashCache, Resolved

FILE = "cosxl.safetensors"
CONFIGURATION = "stabilityai/stable-diffusion-xl-base-1.0"
# Without sigma_schedule diffusers takes Karras sigmas in silence.
SCHEDULER = Scheduler(
    "EDMEulerScheduler",
    {
        "sigma_min": 0.002,
        "sigma_max": 120.0,
        "sigma_data": 1.0,
        "prediction_type": "v_prediction",
        "sigma_schedule": "exponential",
    },
)


def resolve(config: Model, hash_cache: HashCache = None, identify: bool = True) -> Resolved:
    """A local file, or a folder or repository that holds `cosxl.safetensors`."""
    folder = Path(config.path).expanduser()
    path = str(folder / FILE) if folder.is_dir() else config.path
    return door.resolve(path, config.revision, "file", hash_cache=hash_cache, identify=identify)


def load(model: Model, dtype: dict[str, Any]) -> Any:
    """The SDXL pipeline of the file; nothing but the file itself is asked of the network."""
    return diffusers.StableDiffusionXLPipeline.from_single_file(
        str(_file(resolve(model, identify=False))),
        config=str(configuration()),
        scheduler=diffusers.EDMEulerScheduler(**SCHEDULER.options),
        local_files_only=True,
        add_watermarker=False,
        **dtype,
    )


def fetch(model: Model) -> Resolved:
    """Downloads the file and the configuration, so that a run can be offline."""
    place = resolve(model)
    _file(place)
    configuration()
    return place


def configuration() -> Path:
    """The folder of SDXL's configuration and tokenizers, which the file lacks (no weights, some megabytes).

    Raises:
        UserError: neither in the cache nor to be had.
    """
    patterns = ["*.json", "*.txt"]
    try:
        return Path(snapshot_download(CONFIGURATION, allow_patterns=patterns, local_files_only=True))
    except Exception:  # not cached yet
        try:
            return Path(snapshot_download(CONFIGURATION, allow_patterns=patterns))
        except Exception as error:
            raise UserError(
                f"CosXL's file holds no configuration, and that of {CONFIGURATION} (json and txt files, no weights) is "
                "neither cached nor reachable. Run `diffcore-hf plan --fetch` once with a network"
            ) from error


def _file(place: Resolved) -> Path:
    return place.local or Path(hf_hub_download(place.location, FILE, revision=place.revision))
