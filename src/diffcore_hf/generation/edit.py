"""The strategy `edit`: an editing pipeline changes the row's own image by an instruction (DiffuseMix, GenMix).

The instruction is the prompt of the unit, so it is published with the image. The prompt template contains the
instruction with a placeholder, and the contexts of the recipe fill it (the styles of DiffuseMix). The context of a unit
is drawn from (seed, row id, copy).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from diffcore_hf.core.schema import SOURCE_IMAGE
from diffcore_hf.generation.base import Batch, Samples, evaluations_per_step
from diffcore_hf.generation.image_to_image import FITS
from diffcore_hf.generation.options import choice, number
from diffcore_hf.generation.pipelines import PipelineStrategy

if TYPE_CHECKING:
    from diffcore_hf.models.editing import Editing
    from diffcore_hf.models.image_to_image import Fit


class EditStrategy(PipelineStrategy):
    """Changes the image of the row by an instruction.

    Options:
        image_guidance: scale of the guidance by the image, at least 1. Only InstructPix2Pix has it.
        fit: how the real image becomes square. crop: the centre. stretch: the whole image.
    """

    VERSION = "1"
    reads = ("prompt", "negative_prompt", "seed", SOURCE_IMAGE)
    defaults = MappingProxyType({"image_guidance": 1.5, "fit": FITS[0]})

    def check_options(self) -> None:
        self.image_guidance = number("image_guidance", self.options["image_guidance"], 1, 1.5)
        choice("fit", self.options["fit"], FITS)

    @cached_property
    def model(self) -> Editing:
        """The editing model. Its weights are loaded before the first image."""
        from diffcore_hf.models.editing import Editing

        return Editing(self.config, image_guidance=self.image_guidance, strict=self.strict, batch_size=self._batch_size)

    def check(self, model: Mapping[str, Any]) -> None:
        from diffcore_hf.models.model_resolution import check_editing_class

        check_editing_class(model["pipeline"], self.config.path)

    def evaluations(self, model: Mapping[str, Any]) -> float:
        guided_by_image = "InstructPix2Pix" in model["pipeline"] and self.config.gamma > 0
        return self.config.steps * (3 if guided_by_image else evaluations_per_step(self.config))

    def sample(self, batch: Batch) -> Samples:
        return self.model.sample(
            batch["prompt"],
            batch["negative_prompt"],
            batch["seed"],
            batch[SOURCE_IMAGE],
            fit=cast("Fit", self.options["fit"]),
        )
