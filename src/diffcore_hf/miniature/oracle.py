"""The oracle: what a picture of the miniature world truly shows.

Owns the loading of the shipped classifier and its verdict. It was trained on renderings of everything; no part of the
main job may ask it, only tests and evidence.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import SPECIES

if TYPE_CHECKING:
    import torch

MODELS = Path(__file__).parent / "models"
_SIDE = 64


class Oracle:
    """Names species and context of pictures."""

    def __init__(self, model: torch.nn.Module):
        """A network from (B, 3, 64, 64) in [-1, 1] to 50 logits: 40 species, then 10 contexts."""
        self._model = model.eval()

    @classmethod
    def load(cls, folder: str | Path = MODELS / "oracle") -> Oracle:
        """The shipped oracle, or another one of train_oracle.py's."""
        import timm

        return cls(timm.create_model(f"local-dir:{folder}", pretrained=True).float())

    def judge(self, images: list[Image.Image], batch_size: int = 128) -> tuple[np.ndarray, np.ndarray]:
        """Species ids (places in `SPECIES`) and context ids (places in `CONTEXTS`), both (N,) int64; any image size."""
        verdicts = [self._judge(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
        species, contexts = zip(*verdicts, strict=True) if verdicts else ([np.zeros(0, np.int64)],) * 2
        return np.concatenate(species), np.concatenate(contexts)

    def _judge(self, images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        import torch

        sized = [image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC) for image in images]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in sized])).permute(0, 3, 1, 2)
        with torch.inference_mode():
            species, contexts = self._model(pixels / 127.5 - 1).split([len(SPECIES), len(CONTEXTS)], dim=1)
        return species.argmax(1).numpy(), contexts.argmax(1).numpy()
