"""Resolution of an image tower: its commit, class and image processor, without its weights.

Owns the record of a tower. Loading and embedding are in towers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import library_classes
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.model_views import model_view
from diffcore_hf.models.weights_access import (
    HashCache,
    PinnedWeights,
    local_folder,
    public_path,
    read_json,
    resolve_weights,
)

TOWER_REMEDY = "Give filter.path an image model that transformers can load"


class FilterRecord(TypedDict):
    """The record of a run's image tower; the resolved configuration is recorded separately."""

    model: str
    """Name of the model's class in transformers."""
    processor: str
    """Name of the image processor's class; empty if `describe_only` was true."""
    path: str
    """Path in the form that may be published."""
    identity: str
    licence: str | None
    has_text: bool
    """Whether the model can also embed captions, into the same space as images."""


def resolve_filter(
    config: FilterConfig,
    *,
    hash_cache: HashCache = None,
    describe_only: bool = False,
    recorded: Mapping[str, Any] | None = None,
) -> tuple[FilterConfig, FilterRecord]:
    """Resolves the filter's revision to a commit, without loading weights.

    Returns the resolved filter and the record of its image tower.

    Args:
        config: the filter.
        hash_cache: hashes of local files, see `resolve_weights`.
        describe_only: leave out the name of the image processor, which needs an import of transformers. If the files of
            the tower give all other values, transformers is not imported.
        recorded: record of an earlier run. If it is about the same weights, its values are used and transformers is not
            imported, which takes seconds.

    Raises:
        UserError: the model does not exist, has only pickled weights, or is not an image tower.
    """
    weights = resolve_weights(config.path, config.revision, "tower", hash_cache=hash_cache)
    known = _recorded(recorded, weights) or (_described(weights) if describe_only else None)
    model, processor, has_text = known or _inspected(weights, config.path)
    record = FilterRecord(
        model=model,
        processor=processor,
        path=public_path(config.path, weights),
        identity=weights.identity,
        licence=weights.licence,
        has_text=has_text,
    )
    return replace(config, revision=weights.revision), record


def _recorded(record: Mapping[str, Any] | None, weights: PinnedWeights) -> tuple[str, str, bool] | None:
    """Returns the values of a record; None if it is about other weights or has no processor."""
    if record is None or record["identity"] != weights.identity or not record["processor"]:
        return None
    return record["model"], record["processor"], record["has_text"]


def _described(weights: PinnedWeights) -> tuple[str, str, bool] | None:
    """Returns the class, no processor, and whether there is a text tower; None if the files do not state them."""
    try:
        config = read_json(weights, "config.json")
        processor = read_json(weights, "preprocessor_config.json")
    except Exception:  # the libraries look for other files, and name the fault
        return None
    named = processor.get("image_processor_type") or processor.get("feature_extractor_type") or ""
    processor_class = str(named).removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    if "auto_map" in processor or not library_classes.is_image_processor(processor_class):
        return None
    if "auto_map" in config or (config.get("architectures") or [""])[0] == "CLIPVisionModelWithProjection":
        return None
    known = library_classes.tower_class(str(config.get("model_type")))
    return None if known is None else (known.name, "", "get_text_features" in known.methods)


def _inspected(weights: PinnedWeights, path: str) -> tuple[str, str, bool]:
    """Returns the class, the processor, and whether there is a text tower, with an import of transformers."""
    import transformers

    with model_view(local_folder(weights), path) as view:
        cls = model_class(load_part(transformers.AutoConfig, view, path))
        processor = load_part(transformers.AutoImageProcessor, view, path)
    return cls.__name__, type(processor).__name__, hasattr(cls, "get_text_features")


def load_part(auto: Any, view: Path, path: str) -> Any:
    """Loads a configuration, processor or tokenizer from a view, never with remote code."""
    with library_errors(f"{path} is not an image tower of transformers ({auto.__name__} cannot read it)", TOWER_REMEDY):
        return auto.from_pretrained(view, local_files_only=True, trust_remote_code=False)


def model_class(config: Any) -> Any:
    """Returns the class that AutoModel loads for a configuration.

    There is one exception: a CLIP vision tower that was saved with its projection. AutoModel would load it without the
    projection.
    """
    import transformers

    if (config.architectures or [""])[0] == "CLIPVisionModelWithProjection":
        return transformers.CLIPVisionModelWithProjection
    try:
        return transformers.MODEL_MAPPING[type(config)]
    except KeyError:
        raise UserError(
            f"filter.path: transformers.AutoModel does not load a model of type {config.model_type}. {TOWER_REMEDY}"
        ) from None
