"""The strategy `image_to_image`: the row's own image is changed towards its prompt (SDEdit, Real-Guidance)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.schema import SOURCE_IMAGE
from diffcore_hf.generation.base import Batch, Samples, Strategy, evaluations_per_step
from diffcore_hf.generation.options import check_names, choice, share
from diffcore_hf.method.strength import denoising_steps, smallest_strength

if TYPE_CHECKING:
    from diffcore_hf.config.augment import ModelConfig
    from diffcore_hf.models.image_to_image import Fit, ImageToImage

STRENGTH = 0.5
"""Default strength."""
FITS = ("crop", "stretch")


class ImageToImageStrategy(Strategy):
    """Adds noise to the image of the row and denoises it with the prompt.

    Options:
        strength: share of the denoising steps, in (0, 1]. A small value keeps the image. With 1 the result still
            depends on the image a little, so it is not the same as text_to_image.
        fit: how the real image becomes square. crop: the centre. stretch: the whole image.
    """

    VERSION = "1"
    reads = ("prompt", "negative_prompt", "seed", SOURCE_IMAGE)

    def __init__(
        self,
        config: ModelConfig,
        *,
        strict: bool = False,
        batch_size: int | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(config, strict=strict, batch_size=batch_size, options=options)
        check_names("image_to_image", self.options, ("strength", "fit"))
        given = {"strength": STRENGTH, "fit": FITS[0]} | self.options
        self.options = {
            "strength": checked_strength(given["strength"], config.steps),
            "fit": choice("fit", given["fit"], FITS),
        }

    @cached_property
    def model(self) -> ImageToImage:
        """The image-to-image model. Its weights are loaded before the first image."""
        from diffcore_hf.models.image_to_image import ImageToImage

        return ImageToImage(self.config, strict=self.strict, batch_size=self._batch_size)

    @property
    def batch_size(self) -> int:
        return self.model.batch_size

    def check(self, model: Mapping[str, Any]) -> None:
        from diffcore_hf.models.model_resolution import image_to_image_class

        image_to_image_class(model["pipeline"], self.config.path)

    def evaluations(self) -> float:
        return denoising_steps(self.config.steps, self.options["strength"]) * evaluations_per_step(self.config)

    def load(self) -> None:
        self.model.load()

    def sample(self, batch: Batch) -> Samples:
        strengths = [self.options["strength"]] * len(batch["seed"])
        return self.model.sample(
            batch["prompt"],
            batch["negative_prompt"],
            batch["seed"],
            batch[SOURCE_IMAGE],
            strengths,
            cast("Fit", self.options["fit"]),
        )


def checked_strength(value: Any, steps: int) -> float:
    """Return a strength that leaves at least one denoising step.

    Args:
        value: the strength in the recipe.
        steps: `model.steps` of the recipe.

    Raises:
        UserError: the value is not a number in (0, 1], or it leaves no step.
    """
    strength = share("strength", value, STRENGTH)
    if denoising_steps(steps, strength) < 1:
        raise UserError(
            f"strategy.options.strength is {strength:g}, which leaves no denoising step of model.steps {steps}. Use "
            f"--strategy.options.strength {smallest_strength(steps):g} or more"
        )
    return strength
