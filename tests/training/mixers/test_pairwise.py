"""Mixup and CutMix: exact values, and the choice of partners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixing import CLASSES, batch, mixer, probabilities

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.boxes import clipped_boxes, inside
from diffcore_hf.training.mixers.mixup import blend
from diffcore_hf.training.mixers.pairwise import circle_partners
from diffcore_hf.training.mixers.registry import mixer_class


@pytest.mark.parametrize("per", ["image", "batch"])
def test_mixup_of_a_linear_network_mixes_its_logits(per):
    """Compare with z' = L z, where L is the matrix of mixed labels and each image has its own class."""
    context = batch(CLASSES)
    mixed = mixer("mixup", per=per)(context)
    linear = torch.nn.Linear(context.images[0].numel(), 4, bias=False)
    logits, mixed_logits = linear(context.images.flatten(1)), linear(mixed.images.flatten(1))
    assert torch.allclose(mixed_logits, probabilities(mixed) @ logits, atol=1e-4)


def test_blend_of_known_images():
    images, partners = torch.zeros(2, 3, 1, 1), torch.ones(2, 3, 1, 1)
    assert blend(images, partners, torch.tensor([0.25, 1.0]))[:, 0, 0, 0].tolist() == [0.75, 0.0]


@pytest.mark.parametrize(
    ("centre", "side", "box"),
    [
        ((0.5, 0.5), 0.5, [2, 2, 4, 4]),
        ((0.0, 0.0), 0.5, [0, 0, 2, 2]),
        ((0.99, 0.5), 0.5, [6, 2, 2, 4]),
        ((0.3, 0.7), 1.0, [0, 2, 6, 6]),
        ((0.5, 0.5), 0.0, [4, 4, 0, 0]),
    ],
)
def test_boxes_of_an_image_of_eight_pixels(centre, side, box):
    boxes = clipped_boxes(np.array([centre]), np.array([side]), 8, 8)
    assert boxes.tolist() == [box]
    assert int(inside(torch.from_numpy(boxes), 8, 8).sum()) == box[2] * box[3]


def test_the_pasted_area_is_77_of_240_on_average():
    """The expected area for alpha 1 is the integral of (r - r^2/4)^2 over r^2 ~ U(0, 1)."""
    random = np.random.default_rng(0)
    count = 400_000
    boxes = clipped_boxes(random.random((count, 2)), np.sqrt(1 - random.random(count)), 224, 224)
    assert (boxes[:, 2] * boxes[:, 3]).mean() / 224**2 == pytest.approx(77 / 240, abs=1.2e-3)


def test_cutmix_pastes_one_box_of_the_partner():
    context = batch(CLASSES)
    mixed = mixer("cutmix")(context)
    for position, image in enumerate(mixed.images):
        matches = [(image == other).all(0) for other in context.images]
        weights = [float(pixels.float().mean()) for pixels in matches]
        assert torch.allclose(torch.tensor(weights), probabilities(mixed)[position], atol=1e-6)
        (partner,) = {index for index, weight in enumerate(weights) if weight > 0 and index != position} or {position}
        rows, columns = torch.nonzero(matches[partner], as_tuple=True)
        if partner != position:
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)


def test_cutmix_without_correction_keeps_lambda_as_the_label_weight():
    plain, corrected = (mixer("cutmix", per="batch", options={"corrected": flag}) for flag in (False, True))
    plain_labels, corrected_labels = (probabilities(each(batch(CLASSES))) for each in (plain, corrected))
    assert plain_labels.diagonal().max() <= corrected_labels.diagonal().max()
    assert torch.equal(plain(batch(CLASSES)).images, corrected(batch(CLASSES)).images)


@pytest.mark.parametrize(
    ("positions", "partners"),
    [([0.1, 0.2, 0.3], [1, 2, 0]), ([0.9, 0.1], [1, 0]), ([0.5], [0]), ([0.2, 0.8, 0.4], [2, 0, 1])],
)
def test_partners_form_one_circle(positions, partners):
    assert circle_partners(np.array(positions)).tolist() == partners


def test_draws_of_an_image_do_not_depend_on_the_batch():
    """Only the partner depends on the batch. The box of row 0 is the same in every batch."""
    boxes = []
    for count in (2, 5):
        context = batch(count)
        context.images[:] = 1.0
        context.images[0] = 0.0
        boxes.append(mixer("cutmix")(context).images[0, 0])
    assert torch.equal(*boxes) and 0 < boxes[0].mean() < 1


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_probability_is_the_share_of_images_that_are_mixed(name):
    context = batch(400)
    changed = (mixer(name, probability=0.3)(context).images != context.images).flatten(1).any(1)
    assert 0.22 < changed.float().mean() < 0.38


def test_a_class_without_forward_gives_a_one_line_error():
    with pytest.raises(UserError, match="a class without a method forward"):
        mixer_class("diffcore_hf.training.mixers.base:Mixer")
