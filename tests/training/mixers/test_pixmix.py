"""PixMix: the identity in known cases, mixing pictures, and a training compared with a slow implementation."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from mixing import CLASSES, batch, mixer
from PIL import Image
from slow_mixing import assert_same_training

from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.mixing_pictures import DRAWN, FRACTALS, fractal, picture_crop
from diffcore_hf.training.mixers.operations import applied, draw_operation
from diffcore_hf.training.mixers.pixmix import PixMixDraw, added, draw_pixmix, multiplied, pixmix


def picture(seed=0, side=16):
    return torch.randint(256, (3, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_zero_rounds_without_an_operation_do_not_change_the_image():
    assert torch.equal(pixmix(picture(), picture(1), PixMixDraw((0.0, 0.0, 0.0), None, ())), picture())


def test_multiplication_with_a_grey_picture_does_not_change_the_image():
    """With m = 1/2 the factor (2 m)^b is 1 for every b."""
    image = picture().float() / 255
    for b in (-0.5, 0.0, 2.0):
        assert torch.allclose(multiplied(image, torch.full_like(image, 0.5), 1.0, b), image)


@pytest.mark.parametrize(("a", "b", "sum"), [(1.0, 0.0, 0.75), (0.5, 0.5, 0.5), (1.0, -1.0, 1.0), (0.0, 1.0, 0.25)])
def test_addition_computes_on_the_scale_from_minus_1_to_1(a, b, sum):
    assert float(added(torch.tensor(0.75), torch.tensor(0.25), a, b)) == sum


def test_a_black_picture_with_a_negative_exponent_stays_finite():
    found = multiplied(torch.tensor([0.0, 1.0]), torch.zeros(2), 1.0, -1.0)
    assert torch.isfinite(found).all() and found.tolist()[0] == 0.0


def test_a_large_beta_does_not_change_the_image():
    random = np.random.default_rng(0)
    for _ in range(20):
        draw = draw_pixmix(random, 4, 1e9, 3)
        assert torch.equal(pixmix(picture(), picture(1), PixMixDraw(draw.picture, None, draw.rounds)), picture())


def test_pictures_come_from_the_folder(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "a.png")
    Image.new("L", (9, 9), 50).save(tmp_path / "below" / "b.png")
    (tmp_path / "broken.png").write_bytes(b"broken")
    method = mixer("pixmix", options={"pictures": str(tmp_path)})
    assert len(method.pictures) == 3
    crops = [picture_crop(method.pictures, (share, 0.9, 0.9), 16, 16) for share in (0.0, 0.4, 0.7)]
    # The file after broken.png replaces it. After the last file, this is the first file.
    assert [crop.unique().tolist() for crop in crops] == [[0, 200], [50], [0, 200]]
    assert torch.isfinite(method(batch()).images).all()


@pytest.mark.parametrize("kind", ["missing", "empty", "broken"])
def test_a_folder_without_pictures_gives_a_one_line_error(tmp_path, kind):
    folder = tmp_path / kind
    if kind != "missing":
        folder.mkdir()
    if kind == "broken":
        (folder / "a.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="mixer.options.pictures (is|has).*mit the option to use fractals") as caught:
        mixer("pixmix", options={"pictures": str(folder)})
    assert "\n" not in str(caught.value)


def stripes(number, side):
    """Draw a picture in which every value is `number`."""
    return torch.full((3, side, side), number, dtype=torch.uint8)


def wrong_size(number, side):
    return Image.new("RGB", (side, side + 1))


def no_picture(number, side):
    return None


def fails(number, side):
    raise KeyError(number)


def test_pictures_are_drawn_by_a_function_of_the_user(monkeypatch):
    monkeypatch.setitem(sys.modules, "my_pictures", sys.modules[__name__])
    method = mixer("pixmix", options={"pictures": "my_pictures:stripes"})
    crops = [picture_crop(method.pictures, (share, 0.5, 0.5), 16, 16) for share in (0.0, 0.5, 0.999)]
    assert [crop.unique().tolist() for crop in crops] == [[0], [DRAWN // 2], [DRAWN - 1]]
    assert torch.isfinite(method(batch()).images).all()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("my_pictures:wrong_size", "which does not draw a picture of 8 x 8 pixels. Return an RGB image of PIL"),
        ("my_pictures:no_picture", "which does not draw a picture of 8 x 8 pixels. Return an RGB image of PIL"),
        ("my_pictures:fails", "which raises an error for number 0 and side 8: "),
        ("my_pictures:nothing", "but 'nothing' in that module is missing. Name a function"),
        ("my_pictures:DRAWN", "but 'DRAWN' in that module is not a function. Name a function"),
        ("nowhere_at_all:draw", "but there is no module 'nowhere_at_all'"),
    ],
)
def test_a_function_that_draws_no_pictures_gives_a_one_line_error(monkeypatch, name, line):
    monkeypatch.setitem(sys.modules, "my_pictures", sys.modules[__name__])
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        mixer("pixmix", options={"pictures": name})
    assert "\n" not in str(caught.value) and "mixer.options.pictures" in str(caught.value)


def test_the_scenes_of_the_miniature_are_ten_contexts():
    name = "diffcore_hf.miniature.scenery:mixing_picture"
    crops = [picture_crop(name, (number / DRAWN, 0.5, 0.5), 56, 56) for number in range(10)]
    assert len({crop.numpy().tobytes() for crop in crops}) == 10
    assert torch.equal(crops[3], picture_crop(name, (3 / DRAWN, 0.5, 0.5), 56, 56))


def test_fractals_are_different_pictures_with_structure():
    drawn = [fractal(number, 48) for number in range(8)]
    assert len({each.numpy().tobytes() for each in drawn}) == 8
    assert all(each.float().std() > 10 for each in drawn)
    assert torch.equal(fractal(3, 48), fractal(3, 48))


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    def slow(context):
        views = []
        for normalised, key in zip(context.images, context.keys, strict=True):
            random = seeding.generator("mixer", context.seed, *key)
            random.random()
            original = (255 * (normalised * 0.5 + 0.5)).round().to(torch.uint8)
            position = random.random(3)
            other = picture_crop(FRACTALS, tuple(position), 12, 12).numpy() / 255
            augmented = lambda random=random, original=original: applied(draw_operation(random, 3), original)  # noqa: E731
            mixed = (augmented() if random.random() < 0.5 else original).numpy() / 255
            for _ in range(random.integers(5)):
                second = augmented().numpy() / 255 if random.random() < 0.5 else other
                product = random.random() < 0.5
                if random.random() < 0.5:
                    a, b = random.beta(3, 1), random.beta(1, 3)
                else:
                    a, b = 1 + random.beta(1, 3), -random.beta(1, 3)
                for index, value in np.ndenumerate(mixed):
                    if product:
                        value = (2 * value) ** a * max(2 * second[index], 1e-37) ** b / 2
                    else:
                        value = (a * (2 * value - 1) + b * (2 * second[index] - 1) + 1) / 2
                    mixed[index] = min(1.0, max(0.0, value))
            views.append((torch.from_numpy(mixed * 255).round().float() / 255 - 0.5) / 0.5)
        return torch.stack(views), torch.eye(CLASSES)[context.targets]

    assert_same_training("pixmix", slow)
