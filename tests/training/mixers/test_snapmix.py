"""SnapMix: exact weights, networks with class activation maps, and a training compared with a slow implementation."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from mixer_training import assert_trains_alike
from mixing import CLASSES, SIDE, SmallNetwork, batch, mixer, small_network
from torch import nn
from torch.nn import functional

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.engine.losses import classification_loss
from diffcore_hf.training.mixers.activation_maps import activation_maps, has_linear_head
from diffcore_hf.training.mixers.boxes import inside, resized_boxes
from diffcore_hf.training.mixers.snapmix import label_weights


def masks(*boxes):
    """Return masks that are true inside boxes, (B, 8, 8) bool. A box is (top, left, height, width)."""
    return inside(torch.tensor(boxes), 8, 8)[:, 0]


def test_constant_maps_give_the_areas_as_label_weights():
    maps = torch.full((1, 8, 8), 3.0)
    own, other = label_weights(maps, maps, masks([1, 2, 4, 2]), masks([0, 0, 8, 8]))
    assert own.item() == 1 - 8 / 64 and other.item() == 8 / 64


def test_boxes_of_the_whole_image_give_label_weight_1_to_the_partner():
    maps = torch.randn(2, 8, 8)
    own, other = label_weights(maps, maps.flip(0), masks(*[[0, 0, 8, 8]] * 2), masks(*[[0, 0, 8, 8]] * 2))
    assert torch.allclose(own, torch.zeros(2), atol=1e-6) and torch.allclose(other, torch.ones(2))


def test_a_map_that_rises_linearly_gives_the_share_of_the_formula():
    """Column c has the value c + 5. After the minimum is subtracted, it has the value c.

    The sum of columns 2 to 4 is 9/28 of the sum of all columns. The box covers half of the rows, so its share is 9/56.
    """
    ramp = (torch.arange(8.0) + 5).expand(1, 8, 8)
    own, other = label_weights(ramp, ramp, masks([0, 2, 4, 3]), masks([0, 7, 8, 1]))
    assert own.item() == pytest.approx(1 - 9 / 56) and other.item() == pytest.approx(7 / 28)


def test_the_map_is_the_contribution_of_each_position_to_the_logit():
    network = small_network().eval()
    context = batch(model=network)
    maps = activation_maps(context, context.images, context.targets)
    features = network.forward_features(context.images)
    weight = network[-1].weight[context.targets]
    expected = functional.interpolate((features * weight[:, :, None, None]).sum(1, keepdim=True), SIDE, mode="bilinear")
    assert torch.allclose(maps, expected[:, 0], atol=1e-5)


def test_a_resized_box_equals_interpolate():
    images = torch.randn(3, 3, 9, 7)
    source, target = [[0, 0, 9, 7], [2, 1, 3, 4], [8, 6, 1, 1]], [[1, 1, 5, 3], [0, 2, 9, 5], [4, 0, 2, 7]]
    resized = resized_boxes(images, torch.tensor(source), torch.tensor(target))
    for image, result, (y, x, h, w), (top, left, height, width) in zip(images, resized, source, target, strict=True):
        crop = image[None, :, y : y + h, x : x + w]
        expected = functional.interpolate(crop, (height, width), mode="bilinear", align_corners=False)[0]
        assert torch.allclose(result[:, top : top + height, left : left + width], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "linear"),
    [
        ("resnet10t", True),
        ("resnetv2_34", True),
        ("densenet121", True),
        ("test_efficientnet", True),
        ("regnetx_002", True),
        ("mobilenetv3_small_050", False),
        ("test_vit2", False),
        ("test_convnext", False),
    ],
)
def test_networks_with_a_linear_head_are_recognised(name, linear):
    arguments = {"img_size": 64} if "vit" in name else {}
    assert has_linear_head(timm.create_model(name, num_classes=3, **arguments), (3, 64, 64)) == linear


def test_a_network_without_maps_is_refused_and_the_remedies_work():
    with pytest.raises(UserError, match="Use --mixer.name cutmix, or --model.name resnet50"):
        mixer("snapmix", network=nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES)))
    mixer("snapmix", network=timm.create_model("resnet50", num_classes=CLASSES))


class _Ramp(SmallNetwork):
    """A network whose feature map is the first channel of the image, so that the map of every class is known."""

    def forward_features(self, images):
        return images[:, :1]


def ramp_network() -> nn.Module:
    head = nn.Linear(1, CLASSES, bias=False)
    nn.init.ones_(head.weight)
    return _Ramp(nn.Flatten(), head)


@pytest.mark.parametrize("reference", [False, True])
def test_equal_classes_double_the_label_weights_only_with_the_option_reference(reference):
    method = mixer("snapmix", options={"reference": reference})
    contexts = [batch(CLASSES, model=ramp_network()) for _ in range(2)]
    contexts[1].targets[:] = 2
    different, equal = (method(context).targets.sum(1) for context in contexts)
    assert torch.allclose(equal, different * (2 if reference else 1), atol=1e-5)


@pytest.mark.parametrize("kind", ["cross_entropy", "softmax_bce"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_weighted_sum_of_two_losses(kind, smoothing):
    context = batch(model=ramp_network())
    one_loss = lambda logits, targets: classification_loss(logits, targets, kind, smoothing)  # noqa: E731
    object.__setattr__(context, "loss", one_loss)
    mixed = mixer("snapmix")(context)
    logits, expected = torch.randn(6, CLASSES), 0.0
    for row, label in zip(logits, mixed.targets, strict=True):
        for which in label.nonzero():
            expected += label[which] * one_loss(row[None], which) / 6
    assert torch.allclose(mixed.loss(logits, mixed.targets), expected, atol=1e-5)


def slow_box(random, size):
    share, row, column = random.beta(5, 5), random.random(), random.random()
    edges = []
    for centre in (row, column):
        half = np.sqrt(1 - share) / 2
        first, last = (int(np.clip(np.rint((centre + sign * half) * size), 0, size)) for sign in (-1, 1))
        edges.append(slice(first, last))
    return edges


def slow_share(model, image, label, box):
    """Return the share of the class activation map of one image inside a box."""
    features = model[0](image[None])
    cam = (features * model[-1].weight[label][None, :, None, None]).sum(1, keepdim=True)
    cam = functional.interpolate(cam, image.shape[-2:], mode="bilinear")[0, 0]
    cam = cam - cam.min()
    return float(cam[box[0], box[1]].sum() / cam.sum())


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    def slow(context):
        model, count = context.model, len(context.images)
        streams = context.streams()
        order = sorted(range(count), key=[stream.random() for stream in streams].__getitem__)
        partner = {order[place]: order[(place + 1) % count] for place in range(count)}
        images, weights = context.images.clone(), []
        model.eval()
        with torch.no_grad():
            for i, stream in enumerate(streams):
                stream.random()
                box, source = slow_box(stream, SIDE), slow_box(stream, SIDE)
                other = context.images[partner[i]]
                size = [edge.stop - edge.start for edge in box]
                images[i, :, box[0], box[1]] = functional.interpolate(
                    other[None, :, source[0], source[1]], size, mode="bilinear"
                )[0]
                weights.append(
                    (
                        1 - slow_share(model, context.images[i], context.targets[i], box),
                        slow_share(model, other, context.targets[partner[i]], source),
                    )
                )
        model.train()
        rows = model(images).log_softmax(1)
        loss = 0.0
        for i, (own, other) in enumerate(weights):
            loss -= own * rows[i, context.targets[i]] + other * rows[i, context.targets[partner[i]]]
        return loss / count

    assert_trains_alike(mixer("snapmix"), slow, small_network())
