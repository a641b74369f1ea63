"""Reference loaders, written as the documentation of datasets and torchvision recommends.

Owns two transforms that convert images with Pillow into normalised float32 tensors, and the DataLoader of these
transforms. One transform takes single images, the other takes pairs of a real and a generated image. The loaders use no
code of this package. They are at least as fast as the code in the documentation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms

SIZE = 224
NORMALISATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class PlainImages:
    """Transform of the image-classification example of transformers: PIL images to a list of float32 tensors."""

    def __init__(self):
        crop = [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip()]
        self._transform = transforms.Compose([*crop, transforms.ToTensor(), transforms.Normalize(*NORMALISATION)])

    def __call__(self, rows: dict[str, list]) -> dict[str, list]:
        pixel_values = [self._transform(image.convert("RGB")) for image in rows["image"]]
        return {"pixel_values": pixel_values, "label": rows["label"]}


class PlainPairs:
    """Transform of pairs: both images become float32 tensors, which are mixed by Eq. 6 or Eq. 7 at random."""

    def __init__(self):
        crop = [transforms.Resize(256), transforms.RandomCrop(SIZE), transforms.RandomHorizontalFlip()]
        self._transform = transforms.Compose([*crop, transforms.ToTensor(), transforms.Normalize(*NORMALISATION)])

    def __call__(self, rows: dict[str, list]) -> dict[str, list]:
        pairs = zip(rows["image"], rows["generated"], strict=True)
        return {"pixel_values": [self._mixed(*pair) for pair in pairs], "label": rows["label"]}

    def _mixed(self, real: Any, generated: Any) -> Tensor:
        real, generated = self._transform(real.convert("RGB")), self._transform(generated.convert("RGB"))
        lam = float(torch.rand(()))  # Beta(1, 1)
        if torch.rand(()) < 0.5:
            return lam * real + (1 - lam) * generated
        base, patch = (real, generated) if torch.rand(()) < 0.5 else (generated, real)
        side = int(SIZE * (1 - lam) ** 0.5)
        row, column = (int(torch.randint(SIZE, ())) for _ in range(2))
        top, left = max(row - side // 2, 0), max(column - side // 2, 0)
        inside = (..., slice(top, row + side // 2), slice(left, column + side // 2))
        base[inside] = patch[inside]
        return base


def plain_batches(rows: Any, transform: Any, batch: int, workers: int) -> DataLoader:
    """Returns a loader with as many batches as needed: `images` (B, 3, SIZE, SIZE) float32 and `labels` (B,)."""
    return DataLoader(
        rows.with_transform(transform),
        batch_size=batch,
        sampler=RandomSampler(rows, replacement=True, num_samples=10**6),
        collate_fn=_stacked,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )


def _stacked(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {
        "images": torch.stack([row["pixel_values"] for row in rows]),
        "labels": torch.tensor([row["label"] for row in rows]),
    }
