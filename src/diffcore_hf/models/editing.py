"""Editing: changes a real image by an instruction, with a pipeline that was trained for it.

Owns the inputs of such a pipeline. Sampling is in diffusion.py. The whole image is the input of the network, so all
denoising steps are computed and there is no strength.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from PIL import Image

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.models.diffusion import Diffusion
from diffcore_hf.models.image_to_image import Fit, square
from diffcore_hf.models.samples import Samples


class Editing(Diffusion):
    """An editing pipeline, such as InstructPix2Pix or Flux Kontext.

    Args:
        config: the model.
        image_guidance: scale of the guidance by the image, at least 1. Only InstructPix2Pix has it.
        strict: see Diffusion.
        batch_size: see Diffusion.
    """

    task = "edit"

    def __init__(
        self, config: ModelConfig, *, image_guidance: float, strict: bool = False, batch_size: int | None = None
    ):
        super().__init__(config, strict=strict, batch_size=batch_size)
        self.image_guidance = image_guidance

    def sample(
        self,
        instructions: Sequence[str],
        negatives: Sequence[str | None],
        seeds: Sequence[int],
        images: Sequence[Image.Image],
        fit: Fit = "crop",
    ) -> Samples:
        """Generates images, each from a real image, one instruction, one negative prompt and one seed."""
        self.load()
        return self._sample(instructions, negatives, seeds, [square(image, self.side, fit) for image in images])

    def _task_arguments(self, *inputs: list[Any]) -> dict[str, Any]:
        (images,) = inputs
        arguments: dict[str, Any] = {"image": images}
        # Without these two arguments, Flux Kontext scales every image to a size of its own list.
        optional = {"image_guidance_scale": self.image_guidance, "max_area": self.side**2, "_auto_resize": False}
        accepted = inspect.signature(self._pipeline.__call__).parameters
        arguments |= {name: value for name, value in optional.items() if name in accepted}
        return super()._task_arguments() | arguments
