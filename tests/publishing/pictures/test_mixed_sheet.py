"""The sheet of mixed images: what it shows, its words, and that it shows what training sees."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from small_photos import photos, picture

from diffcore_hf.core.images import decode_bytes
from diffcore_hf.publishing.pictures.contact_sheet import WIDTH
from diffcore_hf.publishing.pictures.mixed_sheet import PATCH, PIXEL, MixedTile, choose_mixed, mix_words, mixed_sheet
from diffcore_hf.training.data.mixing_view import mixing_rows
from diffcore_hf.training.data.transform import MixTransform
from diffcore_hf.workflows import augment as jobs
from diffcore_hf.workflows import mixed_pictures as exhibits_mixed


def encoded(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "PNG")
    return buffer.getvalue()


def tile(**changed) -> MixedTile:
    facts = {"real": encoded("#0000ff"), "generated": encoded("#ffff00"), "mixed": encoded("#00ff00"), "name": "Crane",
             "context": "at sunset", "pixel": True, "generated_into_real": True, "lam": 0.625,
             "share": 0.625}  # fmt: skip
    return MixedTile(**(facts | changed))


def colours(sheet: Image.Image) -> set[str]:
    return {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in sheet.getcolors(1 << 24)}


def test_real_generated_and_mixed_stand_side_by_side():
    sheet = mixed_sheet([tile(), tile(pixel=False)], title="Birds", legend="below")
    assert WIDTH - 3 <= sheet.width <= WIDTH
    assert {"#0000ff", "#ffff00", "#00ff00", PIXEL, PATCH} <= colours(sheet)
    row = [sheet.getpixel((x, 240)) for x in range(sheet.width // 2)]
    shown = [colour for colour, _ in itertools.groupby(row) if colour in {(0, 0, 255), (255, 255, 0), (0, 255, 0)}]
    assert shown == [(0, 0, 255), (255, 255, 0), (0, 255, 0)]
    assert PATCH not in colours(mixed_sheet([tile()], title="Birds", legend="below"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lam": 0.634}, "pixel-wise, lambda 0.63"),
        ({"pixel": False, "lam": 0.41}, "patch-wise, generated into real, lambda 0.41"),
        ({"pixel": False, "lam": 0.0, "generated_into_real": False}, "patch-wise, real into generated, lambda 0.00"),
    ],
)
def test_a_mix_in_plain_words(changed, words):
    assert mix_words(tile(**changed)) == words


def test_the_choice_is_balanced_and_deterministic():
    mixes = [(f"class {k}", f"context {c}", bool(n)) for k in range(8) for c in range(4) for n in (0, 1, 1)]
    chosen = choose_mixed(mixes, 12)
    assert chosen == choose_mixed(list(mixes), 12)
    assert len(set(chosen)) == 12
    assert [mixes[place][2] for place in chosen] == [True, False] * 6
    assert {mixes[place][0] for place in chosen} == {f"class {k}" for k in range(8)}
    assert {mixes[place][1] for place in chosen} == {f"context {c}" for c in range(4)}


@pytest.mark.parametrize(
    ("pixel", "shown"), [([], 0), ([True], 1), ([False] * 20, 12), ([True] * 20 + [False], 12), ([True] * 3, 3)]
)
def test_the_choice_takes_what_there_is(pixel, shown):
    chosen = choose_mixed([("a", "", kind) for kind in pixel], 12)
    assert len(chosen) == len(set(chosen)) == shown
    assert sum(not pixel[place] for place in chosen) == min(pixel.count(False), shown)


@pytest.mark.parametrize(
    ("sizes", "side"),
    [([(64, 64)], 64), ([(24, 20)], 16), ([(5, 90)], 8), ([(500, 333)], 224), ([(32, 32), (90, 70), (400, 300)], 64)],
)
def test_no_image_is_blown_up_by_the_framing(sizes, side):
    assert exhibits_mixed.training_size([{"bytes": picture(0, 0, size=size), "path": None} for size in sizes]) == side


def test_what_is_shown_is_what_training_sees(recipe, tmp_path, monkeypatch):
    keep_all = {"filter.policy": {"name": "all"}, "max_attempts": 1, "columns": {"prefix": "dc_"}}
    out = tmp_path / "out"
    jobs.run(recipe(output=str(out), **keep_all), photos([4, 3]), progress=False)
    shown = []
    monkeypatch.setattr(exhibits_mixed, "mixed_sheet", lambda tiles, **_: shown.extend(tiles))
    monkeypatch.setattr(exhibits_mixed, "png_bytes", lambda sheet: b"")
    exhibits_mixed.mixed_batch(out)
    assert len(shown) == 7
    assert {one.name for one in shown} == {"red fox", "green frog"}
    assert {one.context for one in shown} == {"in snow", "at night"}

    rows = load_dataset(str(out), split="train", cache_dir=tmp_path / "cache")
    mix = MixTransform(16, data=str(out), normalise=False)
    mix.set_epoch(0)
    batch = mixing_rows(rows).with_transform(mix)[:]
    training = {image.numpy().tobytes() for image in batch["pixel_values"][7:]}
    assert {np.moveaxis(np.asarray(decode_bytes(one.mixed)), -1, 0).tobytes() for one in shown} == training
    assert {one.real for one in shown} == {picture(0, n) for n in range(4)} | {picture(1, n) for n in range(3)}
    assert all(one.lam == one.share for one in shown if one.pixel)
