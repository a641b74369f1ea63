"""Tests of the contact sheet: any input can be drawn, and equal input gives equal bytes."""

from __future__ import annotations

import io
import itertools

import pytest
from PIL import Image

from diffcore_hf.method.checks import CHECKS, Check, labels
from diffcore_hf.publishing.pictures.card_sheet import WIDTH, png_bytes
from diffcore_hf.publishing.pictures.contact_sheet import (
    KEPT,
    REJECTED,
    UNDECIDED,
    Tile,
    choose_tiles,
    contact_sheet,
    decision_label,
)


def sheet_of(tiles, **options) -> Image.Image:
    """Returns the contact sheet with the labels of the built-in checks."""
    return contact_sheet(tiles, labels=labels(), **options)


def encoded(colour: str, size: tuple[int, int] = (64, 64), mode: str = "RGB", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind)
    return buffer.getvalue()


def tile(reason: str = "kept", **changed) -> Tile:
    facts = {
        "real": encoded("#0000ff"),
        "generated": encoded("#ffff00"),
        "name": "Crane",
        "context": "at sunset",
        "similarity": 0.61,
        "reason": reason,
    }
    return Tile(**(facts | changed))


def colours(sheet: Image.Image) -> set[str]:
    return {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in sheet.getcolors(1 << 24)}


def test_a_sheet_is_as_wide_as_a_readme_and_shows_kept_and_rejected():
    sheet = sheet_of([tile(), tile("low_rank"), tile(), tile("below_floor")], title="Birds")
    assert WIDTH - 3 <= sheet.width <= WIDTH
    assert {"#0000ff", "#ffff00", KEPT, REJECTED} <= colours(sheet)
    assert REJECTED not in colours(sheet_of([tile()] * 3, title="Birds"))
    assert KEPT not in colours(sheet_of([tile("unsafe")] * 3, title="Birds"))


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 2), (12, 4)])
def test_the_number_of_rows_of_a_sheet_follows_from_the_number_of_images(count, rows):
    one_row = sheet_of([tile()], title="").height
    two_rows = sheet_of([tile()] * 4, title="").height
    assert sheet_of([tile()] * count, title="").height == one_row + (rows - 1) * (two_rows - one_row)


def test_a_sheet_with_real_images_off_shows_only_generated_images():
    blue, green = (tile(real=encoded(colour)) for colour in ("#0000ff", "#00ff00"))
    assert png_bytes(sheet_of([blue], title="")) != png_bytes(sheet_of([green], title=""))
    bare = [png_bytes(sheet_of([shown], title="", real=False)) for shown in (blue, green)]
    assert bare[0] == bare[1] and "#ffff00" in colours(sheet_of([blue], title="", real=False))


def test_the_real_image_is_left_of_the_generated_image():
    sheet = sheet_of([tile()], title="one")
    blue = [x for x, y in itertools.product(range(sheet.width), [220]) if sheet.getpixel((x, y)) == (0, 0, 255)]
    yellow = [x for x, y in itertools.product(range(sheet.width), [220]) if sheet.getpixel((x, y)) == (255, 255, 0)]
    assert blue
    assert yellow
    assert max(blue) < min(yellow)


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (640, 480), (30, 900), (2000, 40)])
def test_every_image_is_shown_completely(size):
    sheet = sheet_of([tile(generated=encoded("#ffff00", size))], title="one")
    assert "#ffff00" in colours(sheet)
    assert sheet.size == sheet_of([tile()], title="one").size


@pytest.mark.parametrize("data", [None, b"", b"rubbish", encoded("#ffff00")[:40]])
def test_an_unreadable_image_has_a_hatched_placeholder(data):
    sheet = sheet_of([tile(generated=data)], title="one")
    assert "#dcd9d2" in colours(sheet)
    assert "#ffff00" not in colours(sheet)


def test_a_sheet_without_attempts_can_be_drawn():
    assert sheet_of([], title="nothing").width > 400


@pytest.mark.parametrize(
    "name",
    ["", "a | b `c`\n# d\r\n---", "東京 عربى 🐦", "x" * 5000, "\x00\u202e\ud800\u2028", "{{ 7 }} $x$ \\frac{", "\n"],
)
def test_every_label_is_drawn_inside_its_cell(name):
    plain = sheet_of([tile(name="", context="-", similarity=None, reason="")], title="")
    sheet = sheet_of([tile(name=name, context=name or "-", similarity=None, reason=name)], title="")
    assert sheet.size == plain.size
    right = (
        36 + 362 - 12,
        0,
        sheet.width,
        sheet.height,
    )  # Nothing is drawn over the padding of the cell or outside the cell.
    inside = sheet.crop((right[0], 120, right[2], right[3]))
    assert inside.tobytes() == plain.crop((right[0], 120, right[2], right[3])).tobytes()


def test_equal_arguments_give_equal_bytes_without_metadata():
    tiles = [tile(), tile("low_rank", similarity=None)]
    data = png_bytes(sheet_of(tiles, title="Birds"))
    assert data == png_bytes(sheet_of(tiles, title="Birds"))
    assert Image.open(io.BytesIO(data)).info == {}


def test_a_sheet_of_zero_columns_raises_an_error():
    with pytest.raises(ValueError, match="columns is 0"):
        sheet_of([tile()], title="x", columns=0)


@pytest.mark.parametrize(
    ("reason", "label", "colour"),
    [
        ("kept", "✓ kept", KEPT),
        ("low_rank", "✗ rejected: looks like another class", REJECTED),
        ("crashed: out of memory", "✗ rejected: the model crashed", REJECTED),
        ("", "decision not shown", UNDECIDED),
    ],
)
def test_each_decision_has_a_label_and_a_colour(reason, label, colour):
    assert decision_label(reason, labels()) == (label, colour)


def test_the_label_of_an_added_check_is_shown():
    """If the labels include the added check, its label is shown. Otherwise the label has only the reason."""
    blank = Check("blank", "the image has a single colour", "a blank image", lambda candidate: False)
    assert decision_label("blank", labels((*CHECKS, blank))) == ("✗ rejected: a blank image", REJECTED)
    assert decision_label("blank", labels()) == ("✗ rejected: blank", REJECTED)


CLASSES, CONTEXTS = [f"class {k}" for k in range(8)], [f"context {c}" for c in range(4)]
ATTEMPTS = list(itertools.product(CLASSES, CONTEXTS, ("kept", "kept", "low_rank")))


def test_the_choice_of_images_is_balanced_and_deterministic():
    chosen = choose_tiles(ATTEMPTS, 12)
    picked = [ATTEMPTS[index] for index in chosen]
    assert chosen == choose_tiles(list(ATTEMPTS), 12)
    assert len(set(chosen)) == 12
    assert [reason for _, _, reason in picked] == ["kept", "kept", "low_rank"] * 4
    assert {name for name, _, _ in picked} == {f"class {k}" for k in range(8)}
    assert {sum(context == c for _, context, _ in picked) for c in {f"context {n}" for n in range(4)}} <= {2, 3, 4}


@pytest.mark.parametrize(
    ("reasons", "count", "shown"),
    [
        (["kept"] * 3, 12, 3),
        (["low_rank"] * 20, 12, 12),
        ([], 12, 0),
        (["kept"], 0, 0),
        (["kept"] * 20 + ["unsafe"], 12, 12),
        ([""] * 6, 4, 4),
    ],
)
def test_the_choice_of_images_is_limited_to_the_available_images(reasons, count, shown):
    chosen = choose_tiles([("a", "", reason) for reason in reasons], count)
    assert len(chosen) == len(set(chosen)) == shown
