"""Mixup: a training compared with a slow implementation, for both kinds of draws."""

from __future__ import annotations

import pytest
import torch
from slow_mixing import DRAWS, SMALL, assert_same_training, label


@pytest.mark.parametrize(("per", "alpha"), [("image", 1.0), ("batch", 0.3)])
def test_50_training_steps_have_the_losses_of_a_slow_implementation(per, alpha):
    """Each pixel is the weighted sum of two pixels. The label has the same weights."""

    def slow(context):
        images, labels = [], []
        for own, (partner, stream) in enumerate(DRAWS[per](context)):
            share = stream.beta(alpha, alpha)
            image = torch.zeros(3, SMALL, SMALL)
            for row in range(SMALL):
                for column in range(SMALL):
                    mine, other = (context.images[each, :, row, column] for each in (own, partner))
                    image[:, row, column] = share * mine + (1 - share) * other
            images.append(image)
            labels.append(label(context, own, partner, share))
        return torch.stack(images), torch.stack(labels)

    assert_same_training("mixup", slow, per=per, options={"alpha": alpha})
