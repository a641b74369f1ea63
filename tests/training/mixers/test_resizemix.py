"""ResizeMix: the label weight on average, the pasted patch, and a training compared with a slow implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixing import CLASSES, batch, mixer, probabilities
from slow_mixing import assert_same_training, draws_of, label
from torch.nn import functional

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.resizemix import patch_boxes


def test_the_label_weight_is_0_756667_on_average():
    """The mean of 1 - tau^2 for tau ~ U(0.1, 0.8) is 1 - (0.8^3 - 0.1^3) / 2.1."""
    random = np.random.default_rng(0)
    taus = 0.1 + 0.7 * random.random(400_000)
    boxes = patch_boxes(taus, random.random((400_000, 2)), 224, 224)
    assert 1 - (boxes[:, 2] * boxes[:, 3]).mean() / 224**2 == pytest.approx(0.756667, abs=1e-3)


@pytest.mark.parametrize(
    ("scale", "position", "box"),
    [(0.5, (0.0, 0.999), [0, 4, 4, 4]), (1.0, (0.7, 0.7), [0, 0, 8, 8]), (0.01, (0.5, 0.5), [4, 4, 1, 1])],
)
def test_boxes_of_an_image_of_eight_pixels(scale, position, box):
    assert patch_boxes(np.array([scale]), np.array([position]), 8, 8).tolist() == [box]


def test_the_patch_is_the_whole_partner_at_a_smaller_size():
    context = batch(CLASSES)
    context.images[:] = torch.arange(1.0, CLASSES + 1).reshape(-1, 1, 1, 1)
    mixed = mixer("resizemix", options={"smallest": 0.5, "largest": 0.5})(context)
    for own, image in enumerate(mixed.images):
        (partner,) = set(image.unique().tolist()) - {own + 1.0}
        assert (image == partner).sum() == 3 * 16 * 16
        assert probabilities(mixed)[own, int(partner) - 1] == 0.25


def test_a_lower_bound_above_the_upper_bound_is_refused():
    with pytest.raises(
        UserError, match=r"mixer.options.smallest is 0.9, above mixer.options.largest \(0.8\). Exchange"
    ):
        mixer("resizemix", options={"smallest": 0.9})


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    def slow(context):
        images, labels = [], []
        for own, (partner, stream) in enumerate(draws_of(context)):
            tau, vertical, horizontal = 0.1 + 0.7 * stream.random(), stream.random(), stream.random()
            side = max(1, round(12 * tau))
            top, left = (int(share * (12 - side + 1)) for share in (vertical, horizontal))
            patch = functional.interpolate(context.images[[partner]], (side, side), mode="bilinear", antialias=True)
            image = context.images[own].clone()
            for row in range(side):
                for column in range(side):
                    image[:, top + row, left + column] = patch[0, :, row, column]
            images.append(image)
            labels.append(label(context, own, partner, 1 - side * side / 144))
        return torch.stack(images), torch.stack(labels)

    assert_same_training("resizemix", slow)
