"""Samples: tests the images and flags of every strategy before they become facts.

Owns the errors for samples that the interface of a strategy does not allow. An image of one colour gets the reason
`invalid`.
Does not own the other reasons (method/checks.py) or the generation (generation/).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.models.samples import Samples, single_colour

INVALID = "invalid"


class SamplesError(UserError):
    """Raised for samples that the interface of a strategy does not allow.

    This error stops the run before the part is committed. It is never recorded as a fact about an image, because the
    strategy would return such samples again.
    """


def checked(samples: Any, count: int, strategy: str, reasons: Sequence[str]) -> Samples:
    """Return the samples of a strategy. An image of one colour that has no flag gets the flag `invalid`.

    Args:
        samples: the return value of `Strategy.sample`.
        count: number of units that the strategy received.
        strategy: name of the strategy in the recipe.
        reasons: the reasons that a flag may name.

    Raises:
        SamplesError: the number, shape or type of the images is wrong, or a flag names no recorded reason.
    """
    if not isinstance(samples, Samples):
        raise SamplesError(f"strategy {strategy} returned {type(samples).__name__}. Return Samples from sample()")
    _check_images(samples.images, count, strategy)
    if len(samples.flags) != count:
        raise SamplesError(
            f"strategy {strategy} returned {len(samples.flags)} flags for {count} units. Return one flag for each unit"
        )
    for flag in samples.flags:
        if flag is not None and str(flag).partition(":")[0] not in reasons:
            raise SamplesError(
                f"strategy {strategy} returned the flag {flag!r}, which is not a recorded reason. Use one of "
                f"{', '.join(reasons)}, or write a check that has this reason and recorded=True, and name it "
                "in filter.checks"
            )
    pairs = zip(samples.flags, single_colour(samples.images), strict=True)
    flags = [INVALID if flag is None and one_colour else flag for flag, one_colour in pairs]
    return Samples(samples.images, flags)


def _check_images(pictures: Any, count: int, strategy: str) -> None:
    """Raise if the images are not a tensor (count, 3, H, W) uint8 with at least one pixel."""
    import torch

    is_tensor = isinstance(pictures, torch.Tensor)
    described = f"{tuple(pictures.shape)} {pictures.dtype}" if is_tensor else type(pictures).__name__
    if not is_tensor or pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[1] != 3:
        raise SamplesError(
            f"strategy {strategy} returned images of the form {described}. Return a tensor ({count}, 3, H, W) of uint8"
        )
    if len(pictures) != count or 0 in pictures.shape:
        raise SamplesError(
            f"strategy {strategy} returned images of the form {described} for {count} units. Return one image for "
            "each unit, with at least one pixel"
        )
