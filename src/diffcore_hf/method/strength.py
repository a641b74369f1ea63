"""Strength of image-to-image: the number of steps that are denoised, and how much of the real image remains.

Meng et al. 2022 (*SDEdit*) add noise to an image up to an intermediate step and denoise the remaining steps. The
strength is the share of the steps that are denoised.
"""

from __future__ import annotations

import math


def denoising_steps(steps: int, strength: float) -> int:
    """Return int(steps * strength), the number of steps that an image-to-image pipeline denoises.

    The product is a floating-point number that is rounded down: 0.29 of 100 steps are 28. The pipelines of flow models
    (SD3, Flux, Z-Image) round it up.
    """
    return min(int(steps * strength), steps)


def smallest_strength(steps: int) -> float:
    """Return the smallest strength with at most four decimals that leaves one step, for up to 10,000 steps."""
    for digits in (1, 2, 3, 4):
        strength = math.ceil(10**digits / steps) / 10**digits
        if denoising_steps(steps, strength) == 1:
            return strength
    return 1.0
