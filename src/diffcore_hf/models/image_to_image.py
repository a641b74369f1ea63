"""Image to image: changes a real image towards a prompt (SDEdit).

Meng et al. 2022 (*SDEdit*): noise is added to the encoded image up to an intermediate step, and the remaining steps are
denoised. `strength` is the share of the steps that are denoised (method/strength.py). Owns the inputs of the pipeline
and the form of the real image. Sampling is in diffusion.py.

Each image has its own generator of random numbers. It draws the sample of the VAE first and the noise second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image

from diffcore_hf.method.strength import denoising_steps
from diffcore_hf.models.diffusion import Diffusion
from diffcore_hf.models.samples import Samples

Fit = Literal["crop", "stretch"]
"""How a real image becomes square. crop: its centre is used. stretch: its sides are scaled separately."""


class ImageToImage(Diffusion):
    """The image-to-image pipeline for the weights of a text-to-image model."""

    task = "image_to_image"

    def sample(
        self,
        prompts: Sequence[str],
        negatives: Sequence[str | None],
        seeds: Sequence[int],
        strengths: Sequence[float],
        images: Sequence[Image.Image],
        fit: Fit = "crop",
    ) -> Samples:
        """Generates images, each from a real image, one prompt, one negative prompt, one seed and one strength.

        A pipeline takes one strength for a batch, so the images are divided by strength.

        Args:
            prompts: prompt of each image.
            negatives: negative prompt of each image.
            seeds: seed of each image.
            strengths: strength of each image, in (0, 1].
            images: real images of any sizes.
            fit: how a real image becomes square.

        Raises:
            ValueError: a strength leaves no denoising step, or the arguments differ in length.
        """
        self.load()
        squares = [square(image, self.side, fit) for image in images]
        rows_of: dict[float, list[int]] = {}
        for row, strength in enumerate(strengths):
            if denoising_steps(self.config.steps, strength) < 1:
                raise ValueError(f"strength {strength} of {self.config.steps} steps leaves no denoising step")
            rows_of.setdefault(strength, []).append(row)
        if len(rows_of) < 2:
            return self._sample(prompts, negatives, seeds, strengths, squares)
        pixels: list[Any] = [None] * len(seeds)
        flags: list[str | None] = [None] * len(seeds)
        columns: tuple[Sequence[Any], ...] = (prompts, negatives, seeds, strengths, squares)
        for rows in rows_of.values():
            part: list[list[Any]] = [[column[row] for row in rows] for column in columns]
            samples = self._sample(part[0], part[1], part[2], *part[3:])
            for row, image, flag in zip(rows, samples.images, samples.flags, strict=True):
                pixels[row], flags[row] = image, flag
        return Samples(torch.stack(pixels), flags)

    def _task_arguments(self, *inputs: list[Any]) -> dict[str, Any]:
        strengths, images = inputs
        return super()._task_arguments() | {"image": images, "strength": strengths[0]}


def square(image: Image.Image, side: int, fit: Fit = "crop") -> Image.Image:
    """Returns a real image as a square of the given side.

    Args:
        image: an RGB image of any size.
        side: side in pixels.
        fit: crop: the largest centred square is scaled, so that proportions are kept. stretch: the whole image is
            scaled to a square.
    """
    width, height = image.size
    if (width, height) == (side, side):
        return image
    box = (0.0, 0.0, float(width), float(height))
    if fit == "crop":
        shorter = min(width, height)
        left, top = (width - shorter) / 2, (height - shorter) / 2
        box = (left, top, left + shorter, top + shorter)
    return image.resize((side, side), Image.Resampling.LANCZOS, box=box)
