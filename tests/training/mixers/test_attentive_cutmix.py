"""Attentive-CutMix: pasted cells, the weight 6/49, the teacher, and a training compared with a slow implementation."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from mixing import CLASSES, SIDE, SmallNetwork, batch, mixer, probabilities, timm_network
from networks import MINIATURE
from slow_mixing import assert_same_training, draws_of, label, network
from torch import nn

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing
from diffcore_hf.training.mixers.attentive_cutmix import cell_means, top_cells


class OneCell(SmallNetwork):
    """A teacher whose map is 1 in one cell of 7 x 7 and 0 elsewhere, for images of any size."""

    def __init__(self, row: int, column: int):
        super().__init__(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
        self.cell = (row, column)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        features = images.new_zeros(len(images), 4, 7, 7)
        features[:, :, self.cell[0], self.cell[1]] = 1.0
        return features


def large(side: int, count: int = CLASSES):
    context = batch(count)
    return replace(context, images=torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0)))


def test_the_cell_with_the_highest_teacher_map_is_pasted():
    context = large(28)
    mixed = mixer("attentive_cutmix", network=OneCell(2, 5), options={"cells": 1})(context)
    changed = (mixed.images != context.images).any(1)
    assert changed[:, 8:12, 20:24].all() and int(changed.sum()) == CLASSES * 16
    assert torch.allclose(probabilities(mixed).max(1)[0], torch.tensor(48 / 49))


def test_the_label_weight_is_6_of_49():
    context = large(224, 2)
    mixed = mixer("attentive_cutmix")(context)
    assert probabilities(mixed)[0].tolist() == pytest.approx([43 / 49, 6 / 49, 0, 0, 0], abs=1e-6)
    changed = (mixed.images != context.images).any(1)[0]
    cells = changed.reshape(7, 32, 7, 32).float().mean((1, 3))
    assert sorted(cells.flatten().tolist()) == [0.0] * 43 + [1.0] * 6


def test_the_map_is_averaged_or_interpolated_to_the_grid():
    assert cell_means(torch.arange(16.0).reshape(1, 4, 4), 2)[0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert cell_means(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), 4)[0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_the_first_of_equal_cells_are_selected():
    assert top_cells(torch.ones(1, 2, 2), 3)[0].tolist() == [[1.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("teacher", ["start", "network"])
def test_only_teacher_network_changes_with_the_training(teacher):
    trained = network()
    method = mixer("attentive_cutmix", network=trained, options={"teacher": teacher})
    context = replace(batch(), model=trained.eval())
    before = method(context).images
    with torch.no_grad():
        trained[0][0].weight.neg_()
    assert torch.equal(before, method(context).images) == (teacher == "start")
    assert not method.state_dict()


def test_small_images_are_enlarged_until_the_map_has_two_positions():
    made = timm_network("resnet")
    method = mixer("attentive_cutmix", network=made)
    with torch.no_grad():
        assert min(made.eval().forward_features(torch.zeros(1, 3, method.size, method.size)).shape[2:]) >= 2
    assert method.size % SIDE == 0


def test_a_teacher_that_cannot_be_loaded_gives_a_one_line_error():
    line = r"mixer.options.teacher is 'resnet5x', which cannot be loaded: .*Use --mixer.options '\{teacher: start\}'"
    with pytest.raises(UserError, match=line) as caught:
        mixer("attentive_cutmix", options={"teacher": "resnet5x"})
    assert "\n" not in str(caught.value)


def test_a_teacher_with_its_own_weights_gets_its_own_normalisation():
    """The teacher gets images before normalisation, so another normalisation of the training gives the same mix."""
    options = {"teacher": "resnet10t", "teacher_weights": MINIATURE, "teacher_size": 64, "cells": 3}
    method, context = mixer("attentive_cutmix", options=options), batch()
    same = replace(context, images=context.images * 0.5 + 0.5, normalisation=framing.IDENTITY)
    changed, changed_too = ((method(each).images != each.images).any(1) for each in (context, same))
    assert torch.equal(changed, changed_too) and changed.any()
    assert not method.state_dict()


def test_more_cells_than_the_grid_has_are_refused():
    with pytest.raises(UserError, match="mixer.options.cells is 5, not an integer from 1 to 4"):
        mixer("attentive_cutmix", options={"grid": 2, "cells": 5})


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    teacher = copy.deepcopy(network()).eval()

    def slow(context):
        images, labels = [], []
        for own, (partner, _) in enumerate(draws_of(context)):
            with torch.no_grad():
                activity = teacher.forward_features(context.images[[partner]])[0].mean(0)
            assert activity.shape == (5, 5)
            blocks = {
                (y, x): float(activity[2 * y : 2 * y + 3, 2 * x : 2 * x + 3].mean()) for y in (0, 1) for x in (0, 1)
            }
            y, x = max(blocks, key=blocks.get)
            image = context.images[own].clone()
            image[:, 6 * y : 6 * y + 6, 6 * x : 6 * x + 6] = context.images[
                partner, :, 6 * y : 6 * y + 6, 6 * x : 6 * x + 6
            ]
            images.append(image)
            labels.append(label(context, own, partner, 0.75))
        return torch.stack(images), torch.stack(labels)

    assert_same_training("attentive_cutmix", slow, options={"grid": 2, "cells": 1, "teacher_size": 12})
