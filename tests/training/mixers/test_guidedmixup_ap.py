"""GuidedMixup-AP: the mask of the gradient, and a training compared with a slow implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixing import CLASSES, SIDE, batch, mixer, probabilities
from slow_mixing import assert_same_training, draws_of, label
from slow_saliency import slow_blurred
from torch import nn


@pytest.mark.parametrize("pairing", ["random", "greedy"])
def test_a_network_whose_gradient_is_the_same_in_all_pixels_gives_mixup_with_one_half(pairing):
    class Mean(nn.Module):
        """Logits that depend on the mean of each channel only."""

        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, CLASSES)

        def forward(self, images):
            return self.head(images.mean((2, 3)))

    context = batch(CLASSES, model=Mean().eval())
    mixed = mixer("guidedmixup_ap", network=Mean(), options={"pairing": pairing})(context)
    labels = probabilities(mixed)
    assert torch.allclose(labels[labels > 0], torch.tensor(0.5), atol=1e-5)
    expected = torch.einsum("ij,jchw->ichw", labels, context.images)
    assert torch.allclose(mixed.images, expected, atol=1e-4)


def test_pixels_that_do_not_change_the_loss_come_from_the_partner():
    class Half(nn.Module):
        """Computes logits from the left half of the first image and from the right half of every other image."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, images):
            left, right = images[..., : SIDE // 2].mean((1, 2, 3)), images[..., SIDE // 2 :].mean((1, 2, 3))
            rows = torch.zeros(len(images), CLASSES)
            rows[:, 0] = torch.where(torch.arange(len(images)) == 0, left, right) * self.weight
            return rows

    context = batch(2, model=Half())
    mixed = mixer("guidedmixup_ap", network=Half())(context)
    edge = SIDE // 2 - 8, SIDE // 2 + 8  # the Gaussian filters blur the border
    for image in mixed.images:
        assert torch.allclose(image[..., : edge[0]], context.images[0, ..., : edge[0]], atol=1e-5)
        assert torch.allclose(image[..., edge[1] :], context.images[1, ..., edge[1] :], atol=1e-5)
    assert torch.allclose(probabilities(mixed)[:, :2].sum(0), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("pairing", ["random", "greedy"])
def test_50_training_steps_have_the_losses_of_a_slow_implementation(pairing):
    def slow(context):
        maps = []
        for image, target in zip(context.images, context.targets, strict=True):
            pixel = image[None].clone().requires_grad_()
            loss = nn.functional.cross_entropy(context.model(pixel), target[None])
            (gradient,) = torch.autograd.grad(loss, pixel)
            saliency = slow_blurred(np.sqrt((gradient[0].numpy().astype(np.float64) ** 2).mean(0)))
            maps.append(saliency / saliency.sum())
        partners = [partner for partner, _ in draws_of(context)]
        if pairing == "greedy":
            far = [[float(np.sqrt(((a - b) ** 2).sum())) for a in maps] for b in maps]
            ends = max(((i, j) for i in range(5) for j in range(i)), key=lambda pair: far[pair[0]][pair[1]])
            path = [max(ends, key=lambda end: sum(far[end]))]
            while len(path) < 5:
                path.append(max(set(range(5)) - set(path), key=lambda index: far[path[-1]][index]))
            partners = [path[(path.index(own) + 1) % 5] for own in range(5)]
        images, labels = [], []
        for own, partner in enumerate(partners):
            mask = torch.from_numpy(maps[own] / (maps[own] + maps[partner])).float()
            images.append(mask * context.images[own] + (1 - mask) * context.images[partner])
            labels.append(label(context, own, partner, float(mask.mean())))
        return torch.stack(images), torch.stack(labels)

    assert_same_training("guidedmixup_ap", slow, options={"pairing": pairing})
