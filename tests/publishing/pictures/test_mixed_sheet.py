"""Tests of the sheet of mixed images: its images, and the text below them."""

from __future__ import annotations

import io
import itertools

import pytest
from PIL import Image

from diffcore_hf.publishing.pictures.card_sheet import WIDTH
from diffcore_hf.publishing.pictures.mixed_sheet import PATCH, PIXEL, MixedTile, choose_mixed, mix_label, mixed_sheet


def encoded(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "PNG")
    return buffer.getvalue()


def tile(**changed) -> MixedTile:
    facts = {
        "real": encoded("#0000ff"),
        "generated": encoded("#ffff00"),
        "mixed": encoded("#00ff00"),
        "name": "Crane",
        "context": "at sunset",
        "pixel": True,
        "generated_into_real": True,
        "lam": 0.625,
        "share": 0.625,
    }
    return MixedTile(**(facts | changed))


def colours(sheet: Image.Image) -> set[str]:
    return {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in sheet.getcolors(1 << 24)}


def test_the_real_generated_and_mixed_image_are_side_by_side():
    sheet = mixed_sheet([tile(), tile(pixel=False)], title="Birds", legend="below")
    assert WIDTH - 3 <= sheet.width <= WIDTH
    assert {"#0000ff", "#ffff00", "#00ff00", PIXEL, PATCH} <= colours(sheet)
    row = [sheet.getpixel((x, 240)) for x in range(sheet.width // 2)]
    shown = [colour for colour, _ in itertools.groupby(row) if colour in {(0, 0, 255), (255, 255, 0), (0, 255, 0)}]
    assert shown == [(0, 0, 255), (255, 255, 0), (0, 255, 0)]
    assert PATCH not in colours(mixed_sheet([tile()], title="Birds", legend="below"))


@pytest.mark.parametrize(
    ("changed", "label"),
    [
        ({"lam": 0.634}, "pixel-wise, lambda 0.63"),
        ({"pixel": False, "lam": 0.41}, "patch-wise, generated into real, lambda 0.41"),
        ({"pixel": False, "lam": 0.0, "generated_into_real": False}, "patch-wise, real into generated, lambda 0.00"),
    ],
)
def test_the_label_of_a_mixed_image_names_the_kind_of_mix(changed, label):
    assert mix_label(tile(**changed)) == label


def test_the_choice_of_images_is_balanced_and_deterministic():
    classes, contexts = [f"class {k}" for k in range(8)], [f"context {c}" for c in range(4)]
    mixes = list(itertools.product(classes, contexts, (False, True, True)))
    chosen = choose_mixed(mixes, 12)
    assert chosen == choose_mixed(list(mixes), 12)
    assert len(set(chosen)) == 12
    assert [mixes[index][2] for index in chosen] == [True, False] * 6
    assert {mixes[index][0] for index in chosen} == {f"class {k}" for k in range(8)}
    assert {mixes[index][1] for index in chosen} == {f"context {c}" for c in range(4)}


@pytest.mark.parametrize(
    ("pixel", "shown"), [([], 0), ([True], 1), ([False] * 20, 12), ([True] * 20 + [False], 12), ([True] * 3, 3)]
)
def test_the_choice_of_images_is_limited_to_the_available_images(pixel, shown):
    chosen = choose_mixed([("a", "", kind) for kind in pixel], 12)
    assert len(chosen) == len(set(chosen)) == shown
    assert sum(not pixel[index] for index in chosen) == min(pixel.count(False), shown)
