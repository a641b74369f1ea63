"""Generate: prompts to images, one a row.

Owns the encoding of what the model draws. Which device batches there are and what becomes of one that fails is
batches.py; drawing itself is models/diffusion.py.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.stages.batches import Result, in_batches, load, worker_threads
from diffcore_hf.augmentation.stages.stage import Stage, attempt_fields
from diffcore_hf.config.augment import Model
from diffcore_hf.core import images

if TYPE_CHECKING:
    from datasets import Features
    from torch import Tensor

    from diffcore_hf.models.diffusion import TextToImage

logger = logging.getLogger(__name__)


class Generate(Stage):
    """One generated image a row, from its prompt, negative prompt and seed; null where none could be made.

    Args:
        config: the model.
        image_format: jpeg (quality 95, 4:4:4), png or webp (lossless).
        store_size: shorter side of the stored image; None keeps all pixels.
        strict: equal bits however the work is cut.
        batch_size: images a device batch; None: found automatically.
    """

    VERSION = "1"
    reads = ("prompt", "negative_prompt", "seed")
    _transient = ("_model", "_resolved")

    def __init__(
        self,
        config: Model,
        *,
        image_format: str = "jpeg",
        store_size: int | None = 512,
        strict: bool = False,
        batch_size: int | None = None,
    ):
        self.config = config
        self.image_format = image_format
        self.store_size = store_size
        self.strict = strict
        self.batch_size = batch_size
        self._model: TextToImage | None = None

    @property
    def adds(self) -> Features:
        from datasets import Features, Image

        return Features({"generated_image": Image()})

    @property
    def model(self) -> TextToImage:
        """The text-to-image model; its weights load when it draws."""
        if self._model is None:
            from diffcore_hf.models.diffusion import TextToImage

            self._model = TextToImage(self.config, strict=self.strict, batch_size=self.batch_size)
        return self._model

    @cached_property
    def resolved(self) -> tuple[Model, dict[str, Any]]:
        """The model without `auto` and null, and its identity."""
        from diffcore_hf.models.diffusion import resolve_model

        return resolve_model(self.config)

    def settings(self) -> dict[str, Any]:
        config, info = self.resolved
        return {
            "model": attempt_fields(config),
            "identity": [info["identity"], *info["adapters"]],
            "image_format": self.image_format,
            "store_size": self.store_size,
            "strict": self.strict,
        }

    def generate(self, prompts: Sequence[str], negatives: Sequence[str | None], seeds: Sequence[int]) -> Tensor:
        """One image each -> (B, 3, H, W) uint8, flagged ones included; nothing is encoded."""
        return self.model.sample(prompts, negatives, seeds).images

    def run(self, prompt: list[str], negative_prompt: list[str | None], seed: list[int]) -> dict[str, list]:
        load(self.model)

        def work(rows: Sequence[int]) -> list[Result]:
            samples = self.model.sample(*([column[row] for row in rows] for column in (prompt, negative_prompt, seed)))
            pixels = samples.images.cpu()
            return [(image if flag is None else None, flag) for image, flag in zip(pixels, samples.flags, strict=True)]

        cells: list[Any] = [None] * len(prompt)
        with ThreadPoolExecutor(worker_threads()) as threads:
            for row, (image, reason) in in_batches(work, len(prompt), self.model):
                if reason is None:
                    cells[row] = threads.submit(encode_pixels, image, self.image_format, self.store_size)
                else:
                    logger.warning("no image for seed %d: %s", seed[row], reason)
        return {"generated_image": [cell and {"bytes": cell.result(), "path": None} for cell in cells]}


def encode_pixels(image: Tensor, image_format: str, store_size: int | None) -> bytes:
    """(3, H, W) uint8 on the CPU -> encoded bytes, reduced to `store_size` first."""
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    return images.encode(images.shrink(picture, store_size), image_format)
