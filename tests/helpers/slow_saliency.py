"""Saliency maps of one image with numpy and loops, from the formulae."""

from __future__ import annotations

from itertools import product

import numpy as np


def slow_grey(pixels: np.ndarray) -> np.ndarray:
    """Return the luma of an image: (3, H, W) -> (H, W)."""
    return 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]


def slow_fine_grained(image: np.ndarray, surrounds: tuple[int, ...]) -> np.ndarray:
    """Return the mean absolute difference between each pixel and the means of its surroundings."""
    total = np.zeros(image.shape)
    for row, column in np.ndindex(*image.shape):
        for surround in surrounds:
            square = image[
                max(0, row - surround) : row + surround + 1, max(0, column - surround) : column + surround + 1
            ]
            mean = (square.sum(dtype=np.float64) - image[row, column]) / (square.size - 1)
            total[row, column] += abs(image[row, column] - mean)
    return total / len(surrounds)


def slow_spectral_residual(image: np.ndarray) -> np.ndarray:
    """Return |IFFT(e^R F / |F|)| with R = log |F| - mean of 3 x 3 frequencies, then the Gaussian filter."""
    spectrum = np.fft.fft2(image.astype(np.float64))
    log_modulus = np.log(np.abs(spectrum))
    mean = sum(np.roll(log_modulus, shift, (0, 1)) for shift in product((-1, 0, 1), repeat=2)) / 9
    return slow_blurred(np.abs(np.fft.ifft2(np.exp(log_modulus - mean) * spectrum / np.abs(spectrum))))


def slow_blurred(image: np.ndarray) -> np.ndarray:
    """Return an image after a Gaussian filter of 7 x 7 pixels with sigma 3; the border is reflected."""
    padded = np.pad(image, 3, mode="reflect")
    result, total = np.zeros(image.shape), 0.0
    for row, column in product(range(7), repeat=2):
        weight = np.exp(-((row - 3) ** 2 + (column - 3) ** 2) / 18)
        result += weight * padded[row : row + image.shape[0], column : column + image.shape[1]]
        total += weight
    return result / total
