"""The strategy `image_to_image`: the row's own image is changed towards its prompt (SDEdit, Real-Guidance)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.schema import SOURCE_IMAGE
from diffcore_hf.generation.base import Batch, Samples, evaluations_per_step
from diffcore_hf.generation.options import choice, share
from diffcore_hf.generation.pipelines import PipelineStrategy
from diffcore_hf.method.strength import denoising_steps, smallest_strength

if TYPE_CHECKING:
    from diffcore_hf.models.image_to_image import Fit, ImageToImage

FITS = ("crop", "stretch")


class ImageToImageStrategy(PipelineStrategy):
    """Adds noise to the image of the row and denoises it with the prompt.

    Options:
        strength: share of the denoising steps, in (0, 1], or a list from which each unit draws one. A small value keeps
            the image. With 1 the result still depends on the image a little, so it is not that of text_to_image.
        fit: how the real image becomes square. crop: the centre. stretch: the whole image.
    """

    VERSION = "1"
    reads = ("prompt", "negative_prompt", "seed", "strength", SOURCE_IMAGE)
    defaults = MappingProxyType({"strength": 0.5, "fit": FITS[0]})

    def check_options(self) -> None:
        self.strengths = checked_strengths(self.options["strength"], self.config.steps)
        choice("fit", self.options["fit"], FITS)

    @cached_property
    def model(self) -> ImageToImage:
        """The image-to-image model. Its weights are loaded before the first image."""
        from diffcore_hf.models.image_to_image import ImageToImage

        return ImageToImage(self.config, strict=self.strict, batch_size=self._batch_size)

    def check(self, model: Mapping[str, Any]) -> None:
        from diffcore_hf.models.model_resolution import image_to_image_class

        image_to_image_class(model["pipeline"], self.config.path)

    def evaluations(self, model: Mapping[str, Any]) -> float:
        steps = [denoising_steps(self.config.steps, strength) for strength in self.strengths]
        return sum(steps) / len(steps) * evaluations_per_step(self.config)

    def sample(self, batch: Batch) -> Samples:
        fit = cast("Fit", self.options["fit"])
        return self.model.sample(
            batch["prompt"], batch["negative_prompt"], batch["seed"], batch["strength"], batch[SOURCE_IMAGE], fit=fit
        )


def checked_strengths(value: Any, steps: int) -> tuple[float, ...]:
    """Return the strengths of a recipe. Each leaves at least one denoising step.

    Args:
        value: a number, or a list of different numbers.
        steps: `model.steps` of the recipe.

    Raises:
        UserError: the value is not a number in (0, 1] or a list of them, or a strength leaves no step.
    """
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    strengths = tuple(share("strength", each, 0.5) for each in listed)
    if not strengths or len(set(strengths)) != len(strengths):
        raise UserError(
            f"strategy.options.strength is {value!r}, not a number or a list of different numbers. Use "
            "--strategy.options.strength 0.5"
        )
    if denoising_steps(steps, min(strengths)) < 1:
        raise UserError(
            f"strategy.options.strength is {min(strengths):g}, which leaves no denoising step of model.steps {steps}. "
            f"Use --strategy.options.strength {smallest_strength(steps):g} or more"
        )
    return strengths
