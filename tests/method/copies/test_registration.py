from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from diffcore_hf.method.copies.closeness import BOUND
from diffcore_hf.method.copies.nomination import PrintIndex, picture_hash, window_hashes
from diffcore_hf.method.copies.prints import SIDE, Print, make_print
from diffcore_hf.method.copies.registration import closest, correlations, register
from diffcore_hf.method.copies.sampling import UNIT, sampled, sampled_parts, weights
from diffcore_hf.method.copies.windows import WHOLE, Window, rounded_aspect, shapes_of, starts, windows_of


@cache
def _pixels(seed: int, side: int = 256) -> np.ndarray:
    """Return a picture of discs with random places and colours on black, (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    picture = np.zeros((side, side, 3))
    for _ in range(14):
        centre, radius, colour = rng.random(2), rng.uniform(0.05, 0.25), rng.random(3)
        inside = np.hypot(rows - centre[0], columns - centre[1]) < radius
        picture[inside] = colour
    return (255 * picture).astype(np.uint8)


def _print(pixels: np.ndarray) -> Print:
    """Return the print of a square picture. Each pixel of the print is the mean of 4 x 4 sampled pixels."""
    side = len(pixels)
    at = (np.arange(4 * SIDE) + 0.5) * side / (4 * SIDE)
    fine = pixels[at.astype(int)][:, at.astype(int)].astype(np.float64)
    return make_print(fine.reshape(SIDE, 4, SIDE, 4, 3).mean(axis=(1, 3)).astype(np.uint8), 1.0)


@cache
def _pictures() -> list[Print]:
    return [_print(_pixels(seed)) for seed in range(6)]


CHANGES = {
    "the same": lambda pixels: pixels,
    "mirrored": lambda pixels: pixels[:, ::-1],
    "cropped to 75 %": lambda pixels: pixels[20:212, 45:237],
    "cropped and mirrored": lambda pixels: pixels[60:252, 3:195][:, ::-1],
    "other channels": lambda pixels: pixels[:, :, [2, 0, 1]],
    "darker": lambda pixels: (0.6 * pixels).astype(np.uint8),
    "inverted": lambda pixels: 255 - pixels,
    "smaller": lambda pixels: pixels[::3, ::3],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_nominated_first_and_passes_the_bound(change):
    pictures = _pictures()
    tested = _print(CHANGES[change](_pixels(3)))
    [nominees] = PrintIndex(pictures).nominate([tested], count=4)
    match = closest(tested, [pictures[index] for index in nominees])
    assert nominees[match.image] == 3
    assert match.score >= BOUND


def test_other_pictures_do_not_pass_the_bound():
    pictures = _pictures()
    assert all(register(_print(_pixels(seed)), other) < BOUND for seed in range(10, 13) for other in pictures)


def test_the_score_of_a_picture_with_itself_is_one_and_of_no_contrast_zero():
    picture, plain = _print(_pixels(0)), _print(np.full((64, 64, 3), 90, np.uint8))
    assert register(picture, picture) == 1.0
    assert register(picture, plain) == 0.0
    assert closest(picture, []) is None


def test_correlation_equals_numpy_and_ignores_brightness_and_contrast():
    rng = np.random.default_rng(0)
    template = rng.integers(0, 256, (1, 50)).astype(float)
    parts = np.stack([rng.integers(0, 256, 50).astype(float), 2 * template[0] + 7, -template[0]])
    found = correlations(template, parts)
    assert found.shape == (1, 3)
    assert found[0, 0] == pytest.approx(np.corrcoef(template[0], parts[0])[0, 1], abs=1e-12)
    assert found[0, 1:].tolist() == [1.0, -1.0]


def test_sampling_averages_blocks_exactly_and_repeats_the_border():
    maps = np.zeros((2, SIDE, SIDE), np.uint8)
    maps[0, :, 32:] = 200
    assert sampled(maps, 0, 0, 1, 1, SIDE, SIDE)[0].tolist() == maps[0].tolist()
    assert sampled(maps, 0.5, 0, 0.5, 1, 2, 3)[0, :, 1].tolist() == [200] * 3
    assert sampled(maps, 1.5, -1, 0.5, 0.5, 2, 2)[0].tolist() == [[200, 200], [200, 200]]
    for start, length, size in [(0.0, 1.0, 8), (-0.3, 1.7, 16), (0.11, 0.4, 32)]:
        assert (weights(start, length, size).sum(axis=1) == UNIT).all()


@pytest.mark.parametrize("aspect", [1.0, 0.75, 2.0])
def test_windows_cover_the_image_and_keep_its_aspect_or_are_square(aspect):
    windows = windows_of(aspect)
    assert windows[0] == WHOLE
    for left, top, width, height in windows:
        assert left >= 0 and top >= 0 and left + width <= 1 + 1e-9 and top + height <= 1 + 1e-9
        assert width == pytest.approx(height) or width * aspect == pytest.approx(height)
    assert len(windows) == sum(len(starts(width)) * len(starts(height)) for width, height in shapes_of(aspect))


def test_hashes_of_windows_follow_the_order_of_the_windows():
    picture = Print(_print(_pixels(1)).maps, 0.75)
    hashes = window_hashes(picture)
    assert (hashes[0] == picture_hash(picture)).all()
    windows = windows_of(rounded_aspect(0.75))
    assert len(hashes) == len(windows)
    for index in (5, len(windows) - 1):
        part = sampled(picture.maps, *windows[index], SIDE, SIDE).astype(np.uint8)
        assert int(picture_hash(Print(part, 1.0)).astype(int) @ hashes[index].astype(int)) > 0.97 * 2 * 180**2


def test_an_index_skips_unreadable_images_and_keeps_their_indices():
    pictures = [None, _print(_pixels(0)), None, _print(_pixels(1))]
    index = PrintIndex(pictures)
    assert len(index) == 2
    assert index.nominate([pictures[3]], count=5) == [[3, 1]]
    assert PrintIndex([None]).nominate([pictures[1]]) == [[]]


def test_pixels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        make_print(np.zeros((10, 10, 3), np.uint8), 1.0)


def test_parts_sampled_together_are_those_sampled_alone():
    maps = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE)).astype(np.uint8)
    places = [Window(0.1, -0.2, 0.7, 0.9), Window(0.0, 0.0, 1.0, 1.0), Window(0.3, 0.4, 0.75, 0.6)]
    alone = [sampled(maps, *place, 32, 32) for place in places]
    assert np.array_equal(sampled_parts(maps, places, 32), np.stack(alone, axis=1))


def test_the_closest_of_several_images_is_that_of_single_comparisons():
    """Images of one aspect are compared in one computation, so another set of images must not change a score."""
    prints = [replace(_print(_pixels(seed)), aspect=aspect) for seed, aspect in enumerate((1.0, 1.5, 1.0, 0.7, 1.5))]
    tested = _print(_pixels(2))
    single = [register(tested, other) for other in prints]
    assert closest(tested, prints) == (2, max(single))
    assert closest(tested, prints[:2]) == (int(np.argmax(single[:2])), max(single[:2]))
