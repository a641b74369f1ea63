"""Marks of a run: the mark that every image of an output folder has.

Owns the choice of the values. The bytes are in core/image_marks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffcore_hf.augmentation.resolution import Resolution
from diffcore_hf.config.digests import NO_MODEL
from diffcore_hf.core.image_marks import MIXED, ImageMark


def mark_of_run(run: Mapping[str, Any]) -> ImageMark:
    """Return the mark of a folder from the content of its run.json."""
    return _mark(run["about"]["model"], run["attempt_digest"])


def mark_of(resolution: Resolution) -> ImageMark:
    """Return the mark of the images of a run."""
    return _mark(resolution.model, resolution.attempt_digest)


def mixed_mark(resolution: Resolution) -> ImageMark:
    """Return the mark of real images that were mixed with images of a run."""
    return replace(mark_of(resolution), source_type=MIXED)


def mark_of_model(model: Mapping[str, Any]) -> ImageMark:
    """Return the mark of images that are made outside a run.

    Args:
        model: the record of the model, a ModelRecord of models/model_resolution.py.
    """
    return _mark(model, None)


def _mark(model: Mapping[str, Any], attempt_digest: str | None) -> ImageMark:
    identity = model["identity"]
    return ImageMark(model["path"], None if identity == NO_MODEL else identity, attempt_digest)
