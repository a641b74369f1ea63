"""A small dataset whose test split has masks, and finished trainings on it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from augmented_photos import augmented, write_augmented
from PIL import Image

from diffcore_hf.config.merging import build
from diffcore_hf.config.train_schema import TRAIN_SCHEMA


def mask_cell(width: int = 24, height: int = 20, value: int = 255) -> dict:
    """Returns an undecoded mask whose object is the left half."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, : width // 2] = value
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def with_masks(rows, cells=None):
    """Returns rows with a column `mask`; without `cells`, every row has the same mask."""
    from datasets import Image as ImageFeature

    cells = [mask_cell()] * len(rows) if cells is None else cells
    return rows.add_column("mask", cells).cast_column("mask", ImageFeature())


def masked_folder(folder: Path, test_cells=None) -> Path:
    """Writes splits train (15 rows), validation (6) and test (9) with masks."""
    return write_augmented(
        folder,
        train=with_masks(augmented()),
        validation=with_masks(augmented((2, 2, 2), start=20)),
        test=with_masks(augmented((3, 3, 3), start=40), test_cells),
    )


def small_recipe(folder: Path, output: Path, **keys):
    """Returns a recipe of two steps of a small network on 32 pixels."""
    base = {
        "data": {"path": str(folder)},
        "model": {"name": "test_resnet", "pretrained": False},
        "transform": {"preset": "tiny_preact_1200", "size": 32},
        "max_steps": 2,
        "batch_size": 4,
        "workers": 0,
        "output": str(output),
        "device": "cpu",
    }
    return build(TRAIN_SCHEMA, base, keys)
