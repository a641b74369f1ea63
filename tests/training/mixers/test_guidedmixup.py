"""GuidedMixup: pairing, mask, and a training with the spectral residual compared with a slow implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixing import CLASSES, batch, mixer, permuted, probabilities
from slow_mixing import assert_same_training, draws_of, label
from slow_saliency import slow_blurred, slow_grey, slow_spectral_residual

from diffcore_hf.training.mixers.guidedmixup import distances, greedy_partners, own_weight


def test_the_greedy_cycle_of_four_points_equals_the_expected_cycle():
    """The points are 0, 1, 3 and 7. The largest distance is from 7 to 0, so the cycle is 7, 0, 3, 1, 7."""
    points = np.array([0.0, 1.0, 3.0, 7.0])
    assert greedy_partners(abs(points[:, None] - points)).tolist() == [2, 3, 1, 0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_greedy_partners_form_one_cycle_in_every_order(count):
    points = np.random.default_rng(0).random(count)
    order = np.random.default_rng(1).permutation(count)
    partners = greedy_partners(abs(points[:, None] - points))
    reordered = greedy_partners(abs(points[order][:, None] - points[order]))
    assert [order[partner] for partner in reordered] == [partners[index] for index in order]
    visited = [0]
    while len(visited) < count:
        visited.append(int(partners[visited[-1]]))
    assert sorted(visited) == list(range(count)) and partners[visited[-1]] == 0


def test_distances_are_euclidean():
    maps = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])
    assert distances(maps).tolist() == [[0.0, 5.0], [5.0, 0.0]]


def test_the_weight_of_a_pixel_is_its_share_of_the_saliency():
    maps, partner_maps = torch.tensor([[[3.0, 0.0, 0.0]]]), torch.tensor([[[1.0, 2.0, 0.0]]])
    assert own_weight(maps, partner_maps).tolist() == [[[0.75, 0.0, 0.5]]]


@pytest.mark.parametrize("pairing", ["random", "greedy"])
def test_uniform_maps_give_mixup_with_one_half(pairing):
    """Images of one colour have no saliency, so every pixel is the mean of two images."""
    context = batch(CLASSES)
    context.images[:] = torch.arange(1.0, CLASSES + 1).reshape(-1, 1, 1, 1)
    mixed = mixer("guidedmixup_sr", options={"pairing": pairing})(context)
    labels = probabilities(mixed)
    assert torch.allclose(labels[labels > 0], torch.tensor(0.5), atol=1e-5)
    means = labels @ torch.arange(1.0, CLASSES + 1)
    assert torch.allclose(mixed.images, means.reshape(-1, 1, 1, 1).expand_as(mixed.images), atol=1e-4)


@pytest.mark.parametrize(
    "name, image_tolerance, label_tolerance", [("guidedmixup_sr", 1e-5, 1e-6), ("guidedmixup_ap", 1e-4, 1e-5)]
)
def test_greedy_pairing_of_a_permuted_batch_gives_the_permuted_result(name, image_tolerance, label_tolerance):
    method, context, order = mixer(name, options={"pairing": "greedy"}), batch(7), [3, 0, 6, 2, 5, 1, 4]
    original, reordered = method(context), method(permuted(context, order))
    assert torch.allclose(original.images[order], reordered.images, atol=image_tolerance)
    assert torch.allclose(original.targets[order], reordered.targets, atol=label_tolerance)


@pytest.mark.parametrize("pairing", ["random", "greedy"])
def test_50_training_steps_have_the_losses_of_a_slow_implementation(pairing):
    def slow(context):
        maps = []
        for image in context.images:
            saliency = slow_blurred(slow_spectral_residual(slow_grey(image.numpy() * 0.5 + 0.5)))
            maps.append(saliency / saliency.sum())
        partners = [partner for partner, _ in draws_of(context)]
        if pairing == "greedy":
            far = [[float(np.sqrt(((a - b) ** 2).sum())) for a in maps] for b in maps]
            pairs = {(i, j): far[i][j] for i in range(5) for j in range(5)}
            start = max(max(pairs, key=pairs.get), key=lambda end: sum(far[end]))
            path = [start]
            while len(path) < 5:
                path.append(max(set(range(5)) - set(path), key=lambda index: far[path[-1]][index]))
            partners = [path[(path.index(own) + 1) % 5] for own in range(5)]
        images, labels = [], []
        for own, partner in enumerate(partners):
            mask = torch.from_numpy(maps[own] / (maps[own] + maps[partner])).float()
            images.append(mask * context.images[own] + (1 - mask) * context.images[partner])
            labels.append(label(context, own, partner, float(mask.mean())))
        return torch.stack(images), torch.stack(labels)

    assert_same_training("guidedmixup_sr", slow, options={"pairing": pairing})
