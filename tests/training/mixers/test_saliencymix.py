"""SaliencyMix: the salient box, the option `reference`, and a training compared with a slow implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixing import CLASSES, SIDE, batch, mixer, probabilities
from slow_mixing import assert_same_training, draws_of, label
from slow_saliency import slow_fine_grained, slow_grey

from diffcore_hf.training.mixers.saliency import SURROUNDS
from diffcore_hf.training.mixers.saliencymix import boxes_around


@pytest.mark.parametrize(
    ("pixel", "side", "box"),
    [(27, 0.5, [2, 2, 4, 4]), (0, 0.5, [0, 0, 2, 2]), (63, 1.0, [4, 4, 4, 4]), (27, 0.0, [4, 4, 0, 0])],
)
def test_boxes_of_an_image_of_8x8_pixels(pixel, side, box):
    found = boxes_around(torch.tensor([pixel]), torch.tensor([side], dtype=torch.float64), 8, 8)[0]
    assert found.tolist() == box or (side == 0.0 and found[2:].tolist() == [0, 0])


@pytest.mark.parametrize("saliency", ["fine_grained", "spectral_residual"])
def test_the_box_contains_the_white_square_of_the_partner(saliency):
    """Each image is black with one white square. The position of the square differs between the images."""
    context = batch(CLASSES)
    context.images[:] = -1.0
    for index, image in enumerate(context.images):
        image[:, 12:20, 5 * index : 5 * index + 8] = 1.0
        image[0] += 1e-4 * index
    mixed = mixer("saliencymix", options={"saliency": saliency, "alpha": 1e6})(context)
    for own, image in enumerate(mixed.images):
        weights = probabilities(mixed)[own]
        partner = int(weights.scatter(0, context.targets[own : own + 1], 0.0).argmax())
        from_partner = (image == context.images[partner]).all(0) & (image != context.images[own]).any(0)
        assert from_partner[16, 5 * partner + 4]
        assert float(weights[partner]) == pytest.approx(float((image[0] == context.images[partner, 0]).float().mean()))


def test_the_box_of_a_partner_without_saliency_is_at_the_first_pixel():
    context = batch(CLASSES)
    context.images[:] = torch.linspace(-1, 1, CLASSES).reshape(-1, 1, 1, 1)
    mixed = mixer("saliencymix", options={"alpha": 1e6})(context)
    pasted = (mixed.images != context.images).any(1)
    side = round(SIDE * np.sqrt(0.5) / 2)
    assert pasted[:, :side, :side].all() and int(pasted.sum()) == CLASSES * (side + 1) ** 2


def test_with_the_option_reference_one_box_is_pasted_for_the_whole_batch():
    context = batch(CLASSES)
    mixed = mixer("saliencymix", options={"reference": True})(context)
    shares = probabilities(mixed).max(1)[0]
    pasted = (mixed.images != context.images).any(1)
    moved = [mask for mask in pasted if mask.any()]
    bounds = {tuple(int(each) for mask in moved for each in mask.nonzero().min(0)[0])[:2] for mask in moved}
    assert len(moved) >= 2 and len(bounds) == 1
    assert len({round(float(share), 6) for share in shares if share < 1}) <= 2


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    def slow(context):
        greys = [slow_grey((image.numpy() * 0.5) + 0.5) for image in context.images]
        images, labels = [], []
        for own, (partner, stream) in enumerate(draws_of(context)):
            side = np.sqrt(1 - stream.beta(1.0, 1.0)) * 12
            salient = slow_fine_grained(greys[partner], SURROUNDS)
            row, column = (each + 0.5 for each in np.unravel_index(salient.argmax(), (12, 12)))
            image, pasted = context.images[own].clone(), 0
            for y in range(max(0, round(row - side / 2)), min(12, round(row + side / 2))):
                for x in range(max(0, round(column - side / 2)), min(12, round(column + side / 2))):
                    image[:, y, x] = context.images[partner, :, y, x]
                    pasted += 1
            images.append(image)
            labels.append(label(context, own, partner, 1 - pasted / 144))
        return torch.stack(images), torch.stack(labels)

    assert_same_training("saliencymix", slow)
