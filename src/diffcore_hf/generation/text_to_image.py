"""The strategy `text_to_image` of the paper: an image is generated from a prompt, a negative prompt and a seed (Eq. 4).

Only the strategies call models/diffusion.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.base import Batch, Samples, evaluations_per_step
from diffcore_hf.generation.pipelines import PipelineStrategy

if TYPE_CHECKING:
    from diffcore_hf.models.diffusion import TextToImage


class TextToImageStrategy(PipelineStrategy):
    """Generates an image from its prompt, negative prompt and seed with a diffusers pipeline."""

    VERSION = "1"
    reads = ("prompt", "negative_prompt", "seed")

    @cached_property
    def model(self) -> TextToImage:
        """The text-to-image model. Its weights are loaded before the first image."""
        from diffcore_hf.models.diffusion import TextToImage

        return TextToImage(self.config, strict=self.strict, batch_size=self._batch_size)

    def check(self, model: Mapping[str, Any]) -> None:
        from diffcore_hf.models.model_resolution import is_editing_class

        if is_editing_class(model["pipeline"]):
            raise UserError(
                f"{self.config.path} is an editing model ({model['pipeline']}), which needs an image. Use "
                "--strategy.name edit, or a text-to-image model"
            )

    def evaluations(self, model: Mapping[str, Any]) -> float:
        return self.config.steps * evaluations_per_step(self.config)

    def sample(self, batch: Batch) -> Samples:
        return self.model.sample(batch["prompt"], batch["negative_prompt"], batch["seed"])
