"""SmoothMix: the mean of the mask, and a training compared with a slow implementation."""

from __future__ import annotations

import math

import pytest
import torch
from slow_mixing import assert_same_training, draws_of, label

from diffcore_hf.training.mixers.smoothmix import gaussian_masks


def test_the_mean_of_a_centred_mask_is_0_35778():
    """For sigma = H / 4 the mean is (sigma sqrt(pi / 2) / H * 2 erf(sqrt 2))^2."""
    exact = (math.sqrt(math.pi / 2) / 2 * math.erf(math.sqrt(2))) ** 2
    assert exact == pytest.approx(0.35778, abs=5e-6)
    mask = gaussian_masks(torch.tensor([[0.25, 0.5, 0.5]]), 224, 224)
    assert float(mask.mean()) == pytest.approx(exact, abs=1e-5)


def test_the_mask_is_1_at_its_centre_and_falls_with_the_distance():
    mask = gaussian_masks(torch.tensor([[0.25, 0.5 / 8, 4.5 / 8]]), 8, 8)[0]
    assert float(mask[0, 4]) == 1.0
    assert float(mask[2, 4]) == pytest.approx(math.exp(-0.5), abs=1e-6) == float(mask[0, 6])


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    def slow(context):
        images, labels = [], []
        for own, (partner, stream) in enumerate(draws_of(context)):
            sigma, centre = 12 * (0.25 + 0.25 * stream.random()), (12 * stream.random(), 12 * stream.random())
            image, total = context.images[own].clone(), 0.0
            for row in range(12):
                for column in range(12):
                    distance = (row + 0.5 - centre[0]) ** 2 + (column + 0.5 - centre[1]) ** 2
                    weight = math.exp(-distance / (2 * sigma**2))
                    image[:, row, column] = (1 - weight) * image[:, row, column] + weight * context.images[
                        partner, :, row, column
                    ]
                    total += weight
            images.append(image)
            labels.append(label(context, own, partner, 1 - total / 144))
        return torch.stack(images), torch.stack(labels)

    assert_same_training("smoothmix", slow)
