"""CutMix: a training compared with a slow implementation, for both kinds of draws."""

from __future__ import annotations

import math

import pytest
import torch
from slow_mixing import DRAWS, SMALL, assert_same_training, label


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize(("per", "alpha"), [("image", 1.0), ("batch", 0.3)])
def test_50_training_steps_have_the_losses_of_a_slow_implementation(per, alpha, corrected):
    """A pixel is pasted if its centre is inside the drawn box. The label counts the pasted pixels, or has lambda."""

    def slow(context):
        images, labels = [], []
        for own, (partner, stream) in enumerate(DRAWS[per](context)):
            share = stream.beta(alpha, alpha)
            centre = (stream.random() * SMALL, stream.random() * SMALL)
            half = math.sqrt(1 - share) * SMALL / 2
            image, pasted = context.images[own].clone(), 0
            for row in range(SMALL):
                for column in range(SMALL):
                    if abs(row + 0.5 - centre[0]) < half and abs(column + 0.5 - centre[1]) < half:
                        image[:, row, column] = context.images[partner, :, row, column]
                        pasted += 1
            images.append(image)
            labels.append(label(context, own, partner, 1 - pasted / SMALL**2 if corrected else share))
        return torch.stack(images), torch.stack(labels)

    assert_same_training("cutmix", slow, per=per, options={"alpha": alpha, "corrected": corrected})
