"""CosXL: SDXL retrained with v-prediction, published as one file without scheduler and configuration.

Owns the loading of this file, and adds the scheduler and the configuration. The weights are gated and may be used for
non-commercial research only. The licence also covers models that are trained on generated images. So CosXL is never a
default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from diffcore_hf.config.augment import ModelConfig, SchedulerConfig
from diffcore_hf.models import weights_access
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.model_views import file_view, model_view
from diffcore_hf.models.weights_access import HashCache, PinnedWeights

FILE = "cosxl.safetensors"
CONFIGURATION = "stabilityai/stable-diffusion-xl-base-1.0"
# Without sigma_schedule, diffusers uses Karras sigmas and gives no warning.
SCHEDULER = SchedulerConfig(
    "EDMEulerScheduler",
    {
        "sigma_min": 0.002,
        "sigma_max": 120.0,
        "sigma_data": 1.0,
        "prediction_type": "v_prediction",
        "sigma_schedule": "exponential",
    },
)


def resolve_cosxl(config: ModelConfig, hash_cache: HashCache = None, identify: bool = True) -> PinnedWeights:
    """Resolves a local file, or a folder or repository that holds `cosxl.safetensors`."""
    folder = Path(config.path).expanduser()
    path = str(folder / FILE) if folder.is_dir() else config.path
    return weights_access.resolve_weights(path, config.revision, "file", hash_cache=hash_cache, identify=identify)


def load_cosxl(model: ModelConfig, dtype: dict[str, Any]) -> Any:
    """Returns the SDXL pipeline of the file. The file is downloaded if it is not in the cache."""
    import diffusers

    from diffcore_hf.models.loading_reports import require_loaded

    file = _local_file(resolve_cosxl(model, identify=False))
    scheduler = diffusers.EDMEulerScheduler(**SCHEDULER.options or {})
    with (
        file_view(file, model.path) as weights,
        model_view(configuration(), CONFIGURATION) as config,
        library_errors(f"{model.path} cannot be loaded as CosXL", f"Give the file {FILE} of stabilityai/cosxl"),
    ):
        pipeline = diffusers.StableDiffusionXLPipeline.from_single_file(
            str(weights / file.name),
            config=str(config),
            scheduler=scheduler,
            local_files_only=True,
            add_watermarker=False,
            **dtype,
        )
    require_loaded(pipeline.components, model.path)
    return pipeline


def fetch_cosxl(model: ModelConfig) -> PinnedWeights:
    """Downloads the file and the configuration, so that a later run needs no network."""
    weights = resolve_cosxl(model)
    _local_file(weights)
    configuration()
    return weights


def configuration() -> Path:
    """Returns a folder with the configuration and the tokenizers of SDXL, but without weights.

    The file of CosXL contains only weights. The folder is downloaded if it is not in the cache.

    Raises:
        UserError: the folder is not in the cache and cannot be downloaded.
    """
    patterns = ["*.json", "*.txt"]
    try:
        return Path(snapshot_download(CONFIGURATION, allow_patterns=patterns, local_files_only=True))
    except Exception:  # The file is not cached yet.
        pass
    problem = (
        f"CosXL needs the configuration of {CONFIGURATION} (json and txt files, no weights), which cannot be downloaded"
    )
    with library_errors(problem, "Run `diffcore-hf plan --fetch` once with a network"):
        return Path(snapshot_download(CONFIGURATION, allow_patterns=patterns))


def _local_file(weights: PinnedWeights) -> Path:
    if weights.local is not None:
        return weights.local
    with weights_access.downloading(f"{weights.location}/{FILE}"):
        return weights_access.download_file(weights, FILE)
