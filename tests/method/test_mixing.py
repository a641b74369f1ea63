"""Tests of mixing (Eq. 6 to 8): the results equal a slow implementation, and draws follow their distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcore_hf.core import seeding
from diffcore_hf.method.mixing import MixDraw, apply_mix, cover, draw_mix, patch_box, patch_mix, pixel_mix, real_share

DRAWS = st.builds(
    MixDraw,
    st.booleans(),
    st.floats(0, 1),
    st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
    st.booleans(),
)


def images(kind, height=7, width=9, count=2):
    draw = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draw) for _ in range(count)]
    return images if kind == torch.uint8 else [image.to(kind) / 255 for image in images]


def slow_mix(real, generated, draw):
    """Mixes pixel by pixel by the equations: M = lambda I + (1 - lambda) G, or M_p * I + (1 - M_p) * G."""
    channels, height, width = real.shape
    side = math.sqrt(1 - draw.lam)
    box_height, box_width = int(height * side), int(width * side)
    row, column = int(draw.centre[0] * height), int(draw.centre[1] * width)
    mixed = np.zeros((channels, height, width))
    for y in range(height):
        for x in range(width):
            inside_rows = row - box_height // 2 <= y < row + box_height // 2
            inside = inside_rows and column - box_width // 2 <= x < column + box_width // 2
            mask = float(inside != draw.generated_into_real)  # M_p is 1 where the real image is visible
            weight = draw.lam if draw.pixel else mask
            for c in range(channels):
                mixed[c, y, x] = weight * float(real[c, y, x]) + (1 - weight) * float(generated[c, y, x])
    return torch.from_numpy(mixed)


@settings(max_examples=60, deadline=None)
@given(DRAWS, st.sampled_from([torch.uint8, torch.float32, torch.float64]))
def test_mixing_equals_a_slow_implementation_of_the_equations(draw, kind):
    real, generated = images(kind)
    mixed = apply_mix(real, generated, draw)
    assert (mixed.dtype, mixed.shape) == (real.dtype, real.shape)
    # uint8 values are rounded to the nearest. A value near one half may be rounded up or down.
    tolerance = 0.5 + 1e-4 if kind == torch.uint8 else 1e-6
    assert (mixed.double() - slow_mix(real, generated, draw)).abs().max() <= tolerance


@settings(max_examples=30, deadline=None)
@given(st.lists(DRAWS, min_size=1, max_size=4), st.sampled_from([torch.uint8, torch.float32]))
def test_a_mixed_batch_equals_its_mixed_samples(draws, kind):
    pairs = [images(kind, count=2) for _ in draws]
    real, generated = (torch.stack([pair[side] for pair in pairs]) for side in (0, 1))
    pixel = pixel_mix(real, generated, torch.tensor([draw.lam for draw in draws]))
    boxes = torch.tensor([patch_box(draw, 7, 9) for draw in draws])
    patch = patch_mix(real, generated, boxes, torch.tensor([draw.generated_into_real for draw in draws]))
    for row, draw in enumerate(draws):
        single = pixel_mix(real[row], generated[row], torch.tensor(draw.lam).item())
        assert (pixel[row].float() - single.float()).abs().max() <= (1 if kind == torch.uint8 else 1e-6)
        box = patch_box(draw, 7, 9)
        assert torch.equal(patch[row], patch_mix(real[row], generated[row], box, draw.generated_into_real))


@given(DRAWS, st.integers(1, 40), st.integers(1, 40))
def test_a_box_is_inside_its_frame_and_the_share_counts_its_pixels(draw, height, width):
    top, left, box_height, box_width = patch_box(draw, height, width)
    assert min(top, left, box_height, box_width) >= 0
    assert top + box_height <= height and left + box_width <= width
    real, generated = torch.ones(1, height, width), torch.zeros(1, height, width)
    assert apply_mix(real, generated, draw).mean().item() == pytest.approx(real_share(draw, height, width), abs=1e-5)


def test_mixing_does_not_change_its_inputs():
    real, generated = images(torch.uint8)
    before = real.clone(), generated.clone()
    for pixel in (True, False):
        apply_mix(real, generated, MixDraw(pixel, 0.4, (0.5, 0.5), True))
    assert torch.equal(real, before[0]) and torch.equal(generated, before[1])


@pytest.mark.parametrize(("lam", "expected"), [(1.0, 200), (0.0, 100), (0.25, 125), (0.5, 150)])
def test_lambda_is_the_share_of_the_real_image(lam, expected):
    real, generated = (torch.full((3, 2, 2), value, dtype=torch.uint8) for value in (200, 100))
    assert pixel_mix(real, generated, lam).unique().tolist() == [expected]


def test_draws_follow_the_distributions_of_the_paper():
    draws = [draw_mix(seeding.generator("test", number)) for number in range(4000)]
    assert np.mean([draw.pixel for draw in draws]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([draw.generated_into_real for draw in draws]) == pytest.approx(0.5, abs=0.03)
    lam = np.array([draw.lam for draw in draws])
    # Beta(1, 1) is the uniform distribution.
    assert np.quantile(lam, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.03)
    assert np.corrcoef([draw.pixel for draw in draws], lam)[0, 1] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("kind", "pi", "share"), [("pixel", 0.5, 1), ("patch", 0.5, 0), ("both", 0, 0), ("both", 1, 1)]
)
def test_kind_and_pi_set_the_share_of_pixel_mixes(kind, pi, share):
    draws = [draw_mix(seeding.generator("test", number), kind=kind, pi=pi) for number in range(20)]
    assert np.mean([draw.pixel for draw in draws]) == share


def test_every_kind_has_the_same_draws():
    both, pixel = (draw_mix(seeding.generator("a", 1), kind=kind) for kind in ("both", "pixel"))
    assert (both.lam, both.centre, both.generated_into_real) == (pixel.lam, pixel.centre, pixel.generated_into_real)


@pytest.mark.parametrize("size", [(10, 10), (40, 20), (20, 40), (7, 33)])
def test_cover_keeps_the_centre_of_the_image_in_the_centre_of_the_frame(size):
    image = torch.zeros(3, *size, dtype=torch.uint8)
    image[:, size[0] // 2, size[1] // 2] = 255
    covering = cover(image, 24, 36)
    assert covering.shape == (3, 24, 36)
    y, x = divmod(int(covering[0].float().argmax()), 36)
    assert abs(y - 12) <= 2 and abs(x - 18) <= 2


def test_cover_returns_an_image_of_the_frame_size_unchanged():
    image = torch.zeros(3, 24, 36, dtype=torch.uint8)
    assert cover(image, 24, 36) is image
