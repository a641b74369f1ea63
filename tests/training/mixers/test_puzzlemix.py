"""PuzzleMix: exact masks, transport of blocks, and a training compared with a slow implementation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from mixer_training import assert_trains_alike
from mixing import SIDE, batch, mixer, probabilities, small_network

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.base import MixerSetup
from diffcore_hf.training.mixers.block_transport import block_sources, moved_blocks
from diffcore_hf.training.mixers.mask_cut import GridEnergy, minimal_labels
from diffcore_hf.training.mixers.puzzlemix import PuzzleMix, label_probabilities, seams


@pytest.mark.parametrize("shape", [(2, 2), (1, 3), (3, 2), (1, 1)])
@pytest.mark.parametrize("smoothness", [0.02, 0.5, 5.0])
def test_the_cut_is_the_minimum_of_all_labelings(shape, smoothness):
    random, (height, width) = np.random.default_rng(0), shape
    unary = random.normal(size=(60, 3, *shape))
    down, right = (random.gamma(1, smoothness, (60, *size)) for size in ((height - 1, width), (height, width - 1)))
    energy = GridEnergy(unary, down, right)
    labelings = [np.array(labels).reshape(shape) for labels in product(range(3), repeat=height * width)]
    smallest = np.min([energy.of(np.broadcast_to(labels, (60, *shape))) for labels in labelings], axis=0)
    assert np.allclose(energy.of(minimal_labels(energy)), smallest, rtol=0, atol=1e-9)


def test_no_change_of_one_cell_or_of_two_neighbours_lowers_the_energy_of_a_large_grid():
    random = np.random.default_rng(1)
    energy = GridEnergy(random.random((2, 3, 16, 16)), random.random((2, 15, 16)), random.random((2, 16, 15)))
    labels = minimal_labels(energy)
    smallest = energy.of(labels)
    for row, column, one, two in product(range(15), range(16), range(3), range(3)):
        changed = labels.copy()
        changed[:, row, column], changed[:, row + 1, column] = one, two
        assert (energy.of(changed) >= smallest - 1e-9).all()


def test_equal_energies_give_one_of_the_minima():
    energy = GridEnergy(np.zeros((1, 3, 2, 2)), np.zeros((1, 1, 2)), np.zeros((1, 2, 1)))
    assert minimal_labels(energy).shape == (1, 2, 2)


def random_maps(grid=4):
    """Return saliency with sum 1, and colour differences, for three images."""
    random = torch.Generator().manual_seed(0)
    own, other = (torch.rand(3, grid, grid, generator=random) for _ in range(2))
    total = [maps.sum((1, 2), keepdim=True) for maps in (own, other)]
    down, right = torch.rand(3, grid - 1, grid, generator=random), torch.rand(3, grid, grid - 1, generator=random)
    return own / total[0], other / total[1], down, right


def test_without_smoothness_and_lambda_the_more_salient_image_gets_each_cell():
    own, other, down, right = random_maps()
    method = PuzzleMix(MixerSetup(5), beta=0.0, gamma=0.0, eta=0.0)
    mask = method.masks(own, other, down, right, np.array([0.1, 0.5, 0.9]))
    assert torch.equal(mask, (own > other).float())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_large_eta_shows_only_the_image_for_lambda_1_and_only_the_partner_for_lambda_0(value):
    method = PuzzleMix(MixerSetup(5), eta=1e4)
    assert (method.masks(*random_maps(), np.full(3, value)) == value).all()


def test_a_large_beta_gives_masks_with_the_same_value_in_all_cells():
    mask = PuzzleMix(MixerSetup(5), beta=1e4).masks(*random_maps(), np.array([0.1, 0.5, 0.9]))
    assert all(len(each.unique()) == 1 for each in mask)


def test_label_probabilities_follow_the_binomial_distribution():
    assert np.allclose(label_probabilities(np.array([0.5, 0.2])), [[0.25, 0.5, 0.25], [0.04, 0.32, 0.64]])
    assert np.isfinite(np.log(label_probabilities(np.array([0.0, 1.0])))).all()


def test_seams_compare_the_colours_on_both_sides_of_a_border():
    """The partner is black. The image is 0.6 above and 0.2 below the border.

    Either image can be above the border. The mean of both differences is (0.36 + 0.04) / 2.
    """
    images = torch.full((1, 3, 4, 4), 0.6)
    images[:, :, 2:] = 0.2
    down, right = seams(images, torch.zeros(1, 3, 4, 4), 2, width=1)
    assert torch.allclose(down, torch.full((1, 1, 2), 0.2)) and torch.allclose(
        right[0, :, 0], torch.tensor([0.36, 0.04])
    )


def test_a_salient_block_moves_into_the_visible_cell():
    """The image is visible on the left. Only block 1, top right, is salient."""
    saliency, mask = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    sources = block_sources(saliency, mask, distance_weight=0.8)
    assert sources[0, 0, 0] == 1 and sources[0, 1, 0] == 2
    images = torch.arange(4.0).reshape(1, 1, 2, 2).repeat_interleave(3, 2).repeat_interleave(3, 3)
    assert moved_blocks(images, sources)[0, 0, ::3, 0].tolist() == [1.0, 2.0]


def test_no_block_moves_if_movement_is_expensive():
    own, _, _, _ = random_maps(8)
    mask = (torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    assert torch.equal(block_sources(own, mask, 1e6).flatten(1), torch.arange(64).expand(3, 64))


def test_visible_positions_show_different_blocks():
    random = torch.Generator().manual_seed(2)
    for _ in range(20):
        saliency = torch.rand(1, 8, 8, generator=random) ** 4
        mask = (torch.rand(1, 8, 8, generator=random) > 0.6).float()
        shown = block_sources(saliency / saliency.sum(), mask, 0.8)[mask > 0]
        assert len(shown.unique()) == len(shown)


def test_equal_images_do_not_change_without_transport():
    context = batch()
    context.images[:] = context.images[:1].clone()
    assert torch.equal(mixer("puzzlemix", options={"transport": False})(context).images, context.images)


@pytest.mark.parametrize(
    ("size", "grids"), [((32, 32), (2, 4, 8, 16)), ((36, 36), (2, 4)), ((224, 224), (2, 4, 8, 16))]
)
def test_the_chosen_grids_divide_the_image(size, grids):
    method = PuzzleMix(MixerSetup(5))
    method.prepare(small_network(), (3, *size))
    assert method.grids == grids


@pytest.mark.parametrize(("side", "grids", "advice"), [(33, None, [1, 3, 11, 33]), (32, [3], [4, 8, 16, 32])])
def test_images_that_no_grid_divides_are_refused_and_the_remedy_works(side, grids, advice):
    method = PuzzleMix(MixerSetup(5), grids=grids)
    with pytest.raises(UserError, match=f"grids: \\{advice}"):
        method.prepare(small_network(), (3, side, side))
    PuzzleMix(MixerSetup(5), grids=advice).prepare(small_network(), (3, side, side))


@pytest.mark.parametrize("t_size", [-1, 4])
def test_blocks_of_any_size_are_moved(t_size):
    mixed = mixer("puzzlemix", options={"t_size": t_size})(batch())
    assert torch.isfinite(mixed.images).all() and not torch.equal(mixed.images, batch().images)


def slow_mask(own, other, pixels, other_pixels, share):
    """Return the best of the 81 masks of a 2 x 2 grid."""
    half = SIDE // 2

    def strip(image, row, column, side):
        cell = image[:, row * half : (row + 1) * half, column * half : (column + 1) * half]
        return {"top": cell[:, :4], "bottom": cell[:, -4:], "left": cell[:, :, :4], "right": cell[:, :, -4:]}[
            side
        ].mean((1, 2))

    def seam(one, two, sides):
        ways = [
            (strip(a, *one, sides[0]) - strip(b, *two, sides[1])).square().mean()
            for a, b in ((pixels, other_pixels), (other_pixels, pixels))
        ]
        return float(ways[0] + ways[1]) / 2

    borders = [((0, c), (1, c), ("bottom", "top")) for c in (0, 1)] + [
        ((r, 0), (r, 1), ("right", "left")) for r in (0, 1)
    ]
    weights = {border[:2]: 1.2 / 32 * (1 + 0.5 * seam(*border)) for border in borders}
    prior = {1.0: share**2, 0.5: 2 * share * (1 - share), 0.0: (1 - share) ** 2}
    best = (np.inf, None)
    for values in product((1.0, 0.5, 0.0), repeat=4):
        mask = np.array(values).reshape(2, 2)
        energy = float((mask * other + (1 - mask) * own).sum()) - 0.2 / 4 * sum(
            np.log(prior[value]) for value in values
        )
        energy += sum(weight * (mask[one] - mask[two]) ** 2 for (one, two), weight in weights.items())
        best = min(best, (energy, values))
    return np.array(best[1]).reshape(2, 2)


def slow_transport(image, saliency, mask):
    """Return the image with moved blocks. Twice, a block that loses its position gets a higher cost for it."""
    half = SIDE // 2
    places = list(product((0, 1), repeat=2))
    cost = {
        (a, b): 0.8 * ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) - saliency[a] * (mask[b] > 0)
        for a in places
        for b in places
    }
    for final in (False, False, True):
        selected = {a: min(places, key=lambda b, a=a: cost[a, b]) for a in places}
        winners = {
            b: min((a for a in places if selected[a] == b), key=lambda a, b=b: cost[a, b], default=b) for b in places
        }
        if not final:
            for a in places:
                if winners[selected[a]] != a:
                    cost[a, selected[a]] += 1
    moved = image.clone()
    for (row, column), (from_row, from_column) in winners.items():
        block = image[:, from_row * half : (from_row + 1) * half, from_column * half : (from_column + 1) * half]
        moved[:, row * half : (row + 1) * half, column * half : (column + 1) * half] = block
    return moved


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    def slow(context):
        model, count, half = context.model, len(context.images), SIDE // 2
        streams = context.streams()
        order = sorted(range(count), key=[stream.random() for stream in streams].__getitem__)
        partner = {order[place]: order[(place + 1) % count] for place in range(count)}
        model.eval()
        maps = []
        for image, label in zip(context.images, context.targets, strict=True):
            pixel = image[None].clone().requires_grad_()
            torch.nn.functional.cross_entropy(model(pixel), label[None]).backward()
            norm = pixel.grad[0].square().mean(0).sqrt()
            cells = np.array(
                [
                    [float(norm[r * half : (r + 1) * half, c * half : (c + 1) * half].sum()) for c in (0, 1)]
                    for r in (0, 1)
                ]
            )
            maps.append(cells / cells.sum())
        model.train()
        images, labels = [], []
        for i, stream in enumerate(streams):
            stream.random()
            stream.integers(1)
            j, share = partner[i], stream.beta(1, 1)
            pixels = [context.images[k] * 0.5 + 0.5 for k in (i, j)]
            mask = slow_mask(maps[i], maps[j], *pixels, share)
            own = slow_transport(context.images[i], maps[i], mask)
            other = slow_transport(context.images[j], maps[j], 1 - mask)
            weight = torch.from_numpy(np.kron(mask, np.ones((half, half)))).float()
            images.append(weight * own + (1 - weight) * other)
            labels.append((mask.mean(), context.targets[i], context.targets[j]))
        rows = model(torch.stack(images)).log_softmax(1)
        loss = sum(-w * rows[i, a] - (1 - w) * rows[i, b] for i, (w, a, b) in enumerate(labels))
        return loss / count

    assert_trains_alike(mixer("puzzlemix", options={"grids": [2]}), slow, small_network())


def test_the_label_weight_is_a_multiple_of_half_a_cell():
    weights = probabilities(mixer("puzzlemix", options={"grids": [2]})(batch(5))) * 8
    assert torch.allclose(weights, weights.round(), atol=1e-5)
