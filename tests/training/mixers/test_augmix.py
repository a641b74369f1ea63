"""AugMix: known draws, the Jensen-Shannon loss, and trainings compared with slow implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mixing import CLASSES, batch, mixer
from slow_mixing import assert_same_training
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from diffcore_hf.core import seeding
from diffcore_hf.training.mixers.augmix import AugMixDraw, augmix, jensen_shannon
from diffcore_hf.training.mixers.operations import NAMES, Operation, applied


def picture(side=16):
    return torch.randint(256, (3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_keeps_shape_and_dtype(name):
    for level in (0.1, 3.0, 10.0):
        for negative in (False, True):
            found = applied(Operation(name, level, negative), picture())
            assert found.shape == (3, 16, 16) and found.dtype == torch.uint8


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Operation("translate_x", 10.0, False), lambda image: torch.nn.functional.pad(image, (5, 0))[..., :16]),
        (Operation("translate_y", 6.0, True), lambda image: torch.nn.functional.pad(image, (0, 0, 0, 3))[:, 3:]),
        (Operation("posterize", 5.0, False), lambda image: image // 64 * 64),
        (Operation("solarize", 5.0, False), lambda image: torch.where(image >= 128, 255 - image, image)),
        (Operation("rotate", 0.1, True), lambda image: image),
    ],
)
def test_operations_have_the_expected_results(operation, expected):
    assert torch.equal(applied(operation, picture()), expected(picture()))


def test_a_share_of_zero_is_the_identity():
    chain = (Operation("solarize", 10.0, False),)
    assert torch.equal(augmix(picture(), AugMixDraw((chain,), (1.0,), 0.0)), picture())


def test_the_result_is_the_weighted_mean_of_image_and_chains():
    """The result is half of the image plus half of the two chains, whose weights are 1/4 and 3/4."""
    image = torch.full((3, 4, 4), 200, dtype=torch.uint8)
    solarized, posterized = (Operation(name, 5.0, False) for name in ("solarize", "posterize"))
    found = augmix(image, AugMixDraw(((solarized,), (posterized,)), (0.25, 0.75), 0.5))
    assert found.unique().tolist() == [round(100 + 0.5 * (0.25 * 55 + 0.75 * 192))]


def test_the_divergence_of_equal_predictions_is_0():
    assert float(jensen_shannon(torch.randn(1, 4, 5).expand(3, 4, 5))) == pytest.approx(0.0, abs=1e-6)


def test_the_divergence_of_three_certain_predictions_of_different_classes_is_ln_3():
    assert float(jensen_shannon(100 * torch.eye(3)[:, None])) == pytest.approx(math.log(3), abs=1e-5)


def test_the_network_computes_three_images_for_the_divergence():
    mixed = mixer("augmix", options={"jsd": True})(batch(CLASSES))
    assert len(mixed.images) == 3 * CLASSES and len(mixed.targets) == CLASSES
    certain = 100 * torch.eye(CLASSES)
    assert float(mixed.loss(certain.repeat(3, 1), mixed.targets)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_images_that_are_not_drawn_do_not_change(probability):
    context = batch(200)
    changed = (mixer("augmix", probability=probability)(context).images != context.images).flatten(1).any(1)
    assert 0.7 * probability <= changed.float().mean() <= probability + 0.05


def slow_view(image: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Return one view of an image (3, H, W) uint8, computed from the formula."""
    weights, share = random.dirichlet([1.0, 1.0, 1.0]), random.beta(1.0, 1.0)
    lengths = random.integers(1, 4, 3)
    total = np.zeros(image.shape)
    for weight, length in zip(weights, lengths, strict=True):
        changed = image
        for _ in range(length):
            name, level = NAMES[random.integers(9)], random.uniform(0.1, 3)
            sign = -1 if random.random() < 0.5 else 1
            shear, shift = math.degrees(math.atan(0.03 * level)), float(int(level * 12 / 30))
            moves = {
                "shear_x": ([0.0, 0.0], [sign * shear, 0.0]), "shear_y": ([0.0, 0.0], [0.0, sign * shear]),
                "translate_x": ([sign * shift, 0.0], [0.0, 0.0]), "translate_y": ([0.0, sign * shift], [0.0, 0.0]),
            }  # fmt: skip
            if name in moves:
                changed = functional.affine(
                    changed, 0.0, moves[name][0], 1.0, moves[name][1], InterpolationMode.BILINEAR, center=[0.0, 0.0]
                )
            if name == "rotate":
                changed = functional.rotate(changed, float(sign * int(3 * level)), InterpolationMode.BILINEAR)
            if name == "posterize":
                changed = functional.posterize(changed, 4 - int(0.4 * level))
            if name == "solarize":
                changed = functional.solarize(changed, min(255, 256 - int(25.6 * level)))
            if name in ("autocontrast", "equalize"):
                changed = getattr(functional, name)(changed)
        total += weight * changed.numpy()
    mixed = (1 - share) * image.numpy() + share * total
    return torch.from_numpy(mixed).round().float()


def slow_views(context, count):
    """Return `count` normalised views of each image of a batch."""
    views = []
    for image, key in zip(context.images, context.keys, strict=True):
        random = seeding.generator("mixer", context.seed, *key)
        random.random()
        pixels = (255 * (image * 0.5 + 0.5)).round().to(torch.uint8)
        views.append([(slow_view(pixels, random) / 255 - 0.5) / 0.5 for _ in range(count)])
    return [torch.stack(each) for each in zip(*views, strict=True)]


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    assert_same_training("augmix", lambda context: (slow_views(context, 1)[0], torch.eye(CLASSES)[context.targets]))


def test_50_training_steps_with_the_divergence_have_the_losses_of_a_slow_implementation():
    def loss(context, network):
        logits = network(torch.cat([context.images, *slow_views(context, 2)]))
        clean, first, second = logits.softmax(1).chunk(3)
        mean = (clean + first + second) / 3
        divergence = sum((p * (p.log() - mean.log())).sum(1).mean() for p in (clean, first, second)) / 3
        return -clean.log()[range(len(clean)), context.targets].mean() + 12 * divergence

    assert_same_training("augmix", loss=loss, options={"jsd": True})
