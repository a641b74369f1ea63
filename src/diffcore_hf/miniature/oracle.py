"""The oracle: a classifier of the species and the context of a picture of the miniature world.

Owns loading and applying the shipped classifier. It was trained on renderings of all species and contexts, so only
tests and benchmarks use it. A run never does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import SPECIES

if TYPE_CHECKING:
    import torch

MODELS = Path(__file__).parent / "models"
_SIDE = 64
Ids = NDArray[np.int64]


class Oracle:
    """A classifier of species and contexts."""

    def __init__(self, model: torch.nn.Module):
        """Stores a network that maps (B, 3, 64, 64) in [-1, 1] to 50 logits: 40 of species, then 10 of contexts."""
        self._model = model.eval()

    @classmethod
    def load(cls, folder: str | Path = MODELS / "oracle") -> Oracle:
        """Loads the shipped oracle, or an oracle from a folder that recipes/miniature/train_oracle.py wrote."""
        import timm

        return cls(timm.create_model(f"local-dir:{folder}", pretrained=True).float())

    def classify(self, images: list[Image.Image], batch_size: int = 128) -> tuple[Ids, Ids]:
        """Classifies images of any size.

        Returns:
            Species ids (indices in `SPECIES`) and context ids (indices in `CONTEXTS`), both (N,) int64.
        """
        batches = [
            self._classify_batch(images[start : start + batch_size]) for start in range(0, len(images), batch_size)
        ]
        species = [species_ids for species_ids, _ in batches]
        contexts = [context_ids for _, context_ids in batches]
        empty = np.zeros(0, np.int64)
        return np.concatenate([empty, *species]), np.concatenate([empty, *contexts])

    def _classify_batch(self, images: list[Image.Image]) -> tuple[Ids, Ids]:
        import torch

        sized = [image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC) for image in images]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in sized])).permute(0, 3, 1, 2)
        with torch.inference_mode():
            species, contexts = self._model(pixels / 127.5 - 1).split([len(SPECIES), len(CONTEXTS)], dim=1)
        return species.argmax(1).numpy(), contexts.argmax(1).numpy()
