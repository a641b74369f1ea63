"""Small coloured images in memory and in class folders. Every call returns the same images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("red_fox", "green_frog", "blue_jay", "sea_lion", "barn_owl", "grey_wolf")
COLOURS = ((200, 60, 40), (50, 180, 60), (40, 80, 200), (120, 110, 100), (220, 190, 120), (130, 130, 140))


def picture(label: int, number: int, size: tuple[int, int] = (24, 20), image_format: str = "JPEG") -> bytes:
    """Returns the encoded bytes of image `number` of a class: the colour of the class with noise."""
    draw = np.random.default_rng([label, number])
    colour = np.array(COLOURS[label % len(COLOURS)]) + draw.integers(-30, 30, 3)
    grain = draw.integers(-40, 40, (size[1], size[0], 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(colour + grain, 0, 255).astype(np.uint8)).save(buffer, image_format)
    return buffer.getvalue()


def photos(counts: list[int], **options):
    """Returns a Dataset in memory with `counts[k]` images of class k, sorted by class."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    rows = [(label, number) for label, count in enumerate(counts) for number in range(count)]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=list(CLASSES[: len(counts)]))})
    cells = [{"bytes": picture(label, number, **options), "path": None} for label, number in rows]
    return Dataset.from_dict({"image": cells, "label": [label for label, _ in rows]}, features=features)


def write_photos(folder: Path, counts: list[int]) -> Path:
    """Writes a folder of photos with one sub-folder for each class. Half of the files are JPEG and half PNG."""
    for label, count in enumerate(counts):
        for number in range(count):
            kind = ("JPEG", "PNG")[number % 2]
            path = folder / CLASSES[label] / f"{number:02d}.{'jpg' if kind == 'JPEG' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(label, number, image_format=kind))
    return folder
