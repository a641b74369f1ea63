"""Saliency maps: known images, and agreement with slow implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixing import batch, small_network
from slow_saliency import slow_fine_grained, slow_spectral_residual

from diffcore_hf.training.mixers.saliency import (
    blurred,
    distribution,
    fine_grained,
    grey,
    input_gradient,
    spectral_residual,
)


def images(count=3, height=20, width=14):
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(0))


def test_grey_is_the_luma_of_rgb():
    pixels = torch.eye(3).reshape(3, 3, 1, 1)
    assert grey(pixels).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])


def test_fine_grained_saliency_equals_a_loop_over_pixels():
    expected = np.stack([slow_fine_grained(image.numpy(), (2, 5)) for image in images()])
    np.testing.assert_allclose(fine_grained(images(), (2, 5)).numpy(), expected, atol=1e-5)


def test_the_spectral_residual_equals_the_formula():
    expected = np.stack([slow_spectral_residual(image.numpy()) for image in images()])
    np.testing.assert_allclose(spectral_residual(images()).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("saliency", [fine_grained, spectral_residual])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_image_has_a_finite_map(saliency, value):
    found = saliency(torch.full((1, 200, 200), value))
    assert torch.isfinite(found).all() and (found >= 0).all()


@pytest.mark.parametrize("saliency", [fine_grained, spectral_residual])
@pytest.mark.parametrize("size", [32, 200])
def test_a_white_square_on_black_is_salient(saliency, size):
    image = torch.zeros(1, size, size)
    image[0, 8:16, 20:28] = 1.0
    row, column = divmod(int(saliency(image).argmax()), size)
    assert 7 <= row <= 16 and 19 <= column <= 28


def test_a_distribution_sums_to_one_also_without_saliency():
    maps = distribution(torch.stack([torch.zeros(4, 5), torch.arange(20.0).reshape(4, 5)]))
    assert torch.allclose(maps.sum((1, 2)), torch.ones(2)) and torch.allclose(maps[0], torch.tensor(1 / 20))


def test_the_gaussian_filter_does_not_change_a_constant_map():
    assert torch.allclose(blurred(torch.full((1, 9, 9), 2.0)), torch.tensor(2.0))


def test_the_input_gradient_of_a_linear_network_is_known():
    """For logits W x of one pixel, the gradient of the cross-entropy is W^T (softmax - y)."""
    context = batch(2)
    linear = torch.nn.Linear(3 * 32 * 32, 5, bias=False)
    network = torch.nn.Sequential(torch.nn.Flatten(), linear)
    context = type(context)(**{**vars(context), "model": network})
    wrong = network(context.images).softmax(1) - torch.nn.functional.one_hot(context.targets, 5)
    gradient = (wrong @ linear.weight).reshape(2, 3, 32, 32)
    found = input_gradient(context, context.images)
    assert torch.allclose(found, gradient.square().mean(1).sqrt(), atol=1e-6)
    assert linear.weight.grad is None


def test_the_input_gradient_of_an_image_does_not_depend_on_the_batch():
    context, network = batch(4), small_network().eval()
    context = type(context)(**{**vars(context), "model": network})
    alone = type(context)(**{**vars(context), "images": context.images[:1], "targets": context.targets[:1]})
    assert torch.allclose(
        input_gradient(context, context.images)[:1], input_gradient(alone, alone.images), rtol=1e-4, atol=1e-8
    )
