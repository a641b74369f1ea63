"""Co-Mixup: exact labelings, the objective, and a training compared with a slow implementation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from mixer_training import assert_trains_alike
from mixing import CLASSES, SIDE, batch, mixer, permuted, probabilities, small_network

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.base import MixerSetup
from diffcore_hf.training.mixers.comixup import CoMixup, shown
from diffcore_hf.training.mixers.joint_labels import JointWeights, Output, joint_outputs, peak_distances
from diffcore_hf.training.mixers.label_grids import LabelEnergy, _best_move, low_labels


def random_saliency(count=5, grid=4, seed=0):
    maps = np.random.default_rng(seed).gamma(0.5, size=(count, grid, grid))
    return maps / maps.sum((1, 2), keepdims=True)


def test_two_labels_on_a_small_grid_give_the_minimum():
    random = np.random.default_rng(0)
    for weight in (0.0, 0.1, 1.0):
        for _ in range(20):
            energy = LabelEnergy(random.normal(size=(2, 2, 2)), 1 - np.eye(2), weight)
            smallest = min(energy.of(np.array(labels).reshape(2, 2)) for labels in product(range(2), repeat=4))
            assert energy.of(low_labels(energy, None)) == pytest.approx(smallest, abs=1e-9)


def test_the_chosen_move_has_the_lowest_cost_of_all_moves():
    random = np.random.default_rng(1)
    for _ in range(5):
        distance = random.random((3, 3))
        distance = (distance + distance.T) * (1 - np.eye(3))
        energy, labels = LabelEnergy(random.normal(size=(3, 3, 3)), distance, 0.5), random.integers(3, size=(3, 3))
        moves = [
            np.where(np.array(cells).reshape(3, 3), label, labels)
            for label, cells in product(range(3), product((False, True), repeat=9))
        ]
        moved, value = _best_move(energy, labels)
        assert value == pytest.approx(min(energy.of(move) for move in moves)) == pytest.approx(energy.of(moved))


def test_without_other_terms_each_cell_shows_the_most_salient_image_in_all_outputs():
    saliency = random_saliency()
    outputs = joint_outputs(-saliency, saliency, JointWeights(0.0, 0.0, 0.0, 0.83, 1))
    assert all((output.first == saliency.argmax(0)).all() and output.equals(outputs[0]) for output in outputs)


def test_the_outputs_differ_after_several_rounds():
    saliency = random_saliency()
    outputs = joint_outputs(-saliency, saliency, JointWeights(0.0, 0.0, 0.0, 0.83, 2))
    assert not any(outputs[a].equals(outputs[b]) for a in range(5) for b in range(a))


def test_diversity_spreads_the_images():
    """Image 0 is the most salient in all cells. With diversity, some outputs show other images."""
    saliency = np.full((4, 4, 4), 1 / 16)
    cost = -saliency - np.array([3e-3, 2e-3, 1e-3, 0.0])[:, None, None]
    uses = [
        sum(output.cells_of(4) for output in joint_outputs(cost, saliency, JointWeights(gamma=gamma, rounds=1))) / 16
        for gamma in (0.0, 1.0)
    ]
    assert uses[0].tolist() == [4, 0, 0, 0] and uses[1].tolist() == [1, 1, 1, 1]


def test_the_cost_of_an_output_does_not_rise_between_rounds_without_diversity():
    saliency, beta = random_saliency(seed=3), 0.32
    cost = -saliency
    values = []
    for rounds in (1, 2, 3):
        output = joint_outputs(cost, saliency, JointWeights(beta, 0.0, 0.0, 0.83, rounds))[0]
        shares = (np.eye(5)[output.first] + np.eye(5)[output.second]) / 2
        borders = sum(np.abs(np.diff(shares, axis=axis)).sum() / 2 for axis in (0, 1))
        cells = (np.moveaxis(shares, 2, 0) * cost).sum() - 5e-4 * (output.first != output.second).sum()
        values.append(cells + beta / 16 * borders)
    assert values[0] >= values[1] - 1e-12 and values[1] >= values[2] - 1e-12


def test_distances_of_peaks_are_counted_in_rows_and_columns():
    saliency = np.zeros((2, 4, 4))
    saliency[0, 0, 1] = saliency[1, 3, 3] = 1
    assert peak_distances(saliency).tolist() == [[0, 5], [5, 0]]


def test_a_shared_cell_is_the_mean_of_two_images():
    images = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    output = Output(np.array([[0, 1], [0, 0]]), np.array([[0, 1], [1, 0]]))
    assert shown(images, [output])[0, 0, ::2, ::2].tolist() == [[0.0, 1.0], [0.5, 0.0]]
    assert output.cells_of(2).tolist() == [2.5, 1.5]


def test_a_batch_of_one_image_does_not_change():
    mixed = mixer("comixup")(batch(1))
    assert torch.equal(mixed.images, batch(1).images) and torch.equal(probabilities(mixed), torch.eye(CLASSES)[:1])


def test_a_partition_mixes_only_images_of_the_partition():
    mixed = mixer("comixup", classes=7, options={"partition": 2})(batch(5))
    assert (mixed.targets > 0).sum(1).max() <= 2
    context = batch(7)
    order = [3, 0, 6, 2, 5, 1, 4]
    method = mixer("comixup", options={"partition": 3})
    assert torch.equal(method(context).images[order], method(permuted(context, order)).images)


def test_images_that_the_grid_does_not_divide_are_refused_and_the_remedy_works():
    with pytest.raises(UserError, match="grid: 3"):
        CoMixup(MixerSetup(5)).prepare(small_network(), (3, 33, 33))
    CoMixup(MixerSetup(5), grid=3).prepare(small_network(), (3, 33, 33))


@pytest.mark.parametrize(("count", "beta"), [(2, 0.02), (4, 0.0)])
def test_50_training_steps_have_the_losses_of_a_slow_implementation(count, beta):
    """Without diversity and with one round, every output is the same minimum over all labelings of 2 x 2 cells.

    With more than two images and a weight of borders, expansion moves do not always find the minimum.
    """

    def slow(context):
        model, half = context.model, SIDE // 2
        streams = context.streams()
        for stream in streams:
            stream.random(2)
        amounts = [stream.gamma(2) for stream in streams]
        model.eval()
        saliency = []
        for image, label in zip(context.images, context.targets, strict=True):
            pixel = image[None].clone().requires_grad_()
            torch.nn.functional.cross_entropy(model(pixel), label[None]).backward()
            norm = pixel.grad[0].square().mean(0).sqrt()
            cells = [
                float(norm[r * half : (r + 1) * half, c * half : (c + 1) * half].sum()) for r in (0, 1) for c in (0, 1)
            ]
            saliency.append(np.array(cells) / sum(cells))
        model.train()
        best = (np.inf, None)
        for labels in product(range(count), repeat=4):
            energy = sum(beta / 4 * (labels[a] != labels[b]) for a, b in ((0, 1), (2, 3), (0, 2), (1, 3)))
            for cell, image in enumerate(labels):
                energy -= saliency[image][cell] + 0.05 / 4 * np.log(amounts[image] / sum(amounts))
            best = min(best, (energy, labels))
        mixed, row = torch.empty(3, SIDE, SIDE), torch.zeros(CLASSES)
        for cell, image in enumerate(best[1]):
            place = (
                slice(None),
                slice(cell // 2 * half, (cell // 2 + 1) * half),
                slice(cell % 2 * half, (cell % 2 + 1) * half),
            )
            mixed[place] = context.images[image][place]
            row[context.targets[image]] += 0.25
        logits = model(mixed.expand(count, -1, -1, -1)).log_softmax(1)
        return -(row * logits).sum() / count

    options = {"grid": 2, "gamma": 0.0, "rounds": 1, "beta": beta}
    assert_trains_alike(mixer("comixup", options=options), slow, small_network(), count=count, rate=0.05)
