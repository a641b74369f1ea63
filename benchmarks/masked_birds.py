"""A dataset of the miniature world with masks and with ideal counterparts, for the measurements of saliency.

Owns the columns that this dataset has in addition to those of the miniature world: `mask`, and `generated`. A row of
the training split has a new picture of its species in another context as its counterpart. A generator without errors
would return such a picture. So the measurements need no diffusion model.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow

from diffcore_hf.miniature.renderer import compose, draw_picture, mask
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.world import SPLITS, Picture, World, rendered_rows

if TYPE_CHECKING:
    from datasets import Dataset

_COUNTERPARTS = 101
"""This number is in the seed of each counterpart, so that no counterpart equals a picture of the miniature world."""


def write_masked_birds(folder: Path, each: int = 100) -> Path:
    """Writes the splits as Parquet files into `folder/data`, unless the folder exists. Returns the folder.

    Args:
        folder: the folder.
        each: number of test images of each species, at most 100.
    """
    if folder.is_dir():
        return folder
    staging = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "data").mkdir(parents=True)
    for split in SPLITS:
        pictures = shown_pictures(each) if split == "test" else World().pictures(split)
        rows(pictures, with_counterparts=split == "train").to_parquet(staging / f"data/{split}.parquet")
    os.replace(staging, folder)
    return folder


def shown_pictures(each: int) -> list[Picture]:
    """Returns the first test pictures of each species. Ten consecutive pictures show all ten contexts."""
    return [picture for picture in World().pictures("test") if picture.seed[-1] < each]


def rows(pictures: Sequence[Picture], *, with_counterparts: bool) -> Dataset:
    """Renders pictures with their masks, and with counterparts if `with_counterparts` is true."""
    from datasets import Image

    counterparts = [counterpart(picture) if with_counterparts else None for picture in pictures]
    masks = [_png(Pillow.fromarray(mask_of(picture).astype(np.uint8) * 255)) for picture in pictures]
    dataset = rendered_rows(pictures)
    dataset = dataset.add_column("mask", masks).cast_column("mask", Image())
    return dataset.add_column("generated", counterparts).cast_column("generated", Image())


def mask_of(picture: Picture) -> np.ndarray:
    """Returns the pixels of the bird in a picture, (64, 64) bool."""
    return mask(picture.species, draw_picture(np.random.default_rng(picture.seed)))


def counterpart(picture: Picture) -> dict[str, Any]:
    """Returns a new picture of the species in a context that is drawn from the other nine."""
    random = np.random.default_rng((*picture.seed, _COUNTERPARTS))
    context = other_context(picture, random)
    return _png(compose(picture.species, context, draw_picture(random)))


def other_context(picture: Picture, random: np.random.Generator) -> str:
    """Draws one of the contexts that the picture does not show."""
    others = [context for context in CONTEXTS if context != picture.context]
    return others[int(random.integers(len(others)))]


def _png(image: Pillow.Image) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}
