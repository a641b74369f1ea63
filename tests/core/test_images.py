"""Tests of decoding and encoding: each image mode becomes RGB, and unreadable images have a short reason."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcore_hf.core import image_cost, image_modes, images

RED = (255, 0, 0)


def stored(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **({"format": "PNG"} | options))
    return {"bytes": buffer.getvalue(), "path": None}


def palette(**options):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    return stored(image, **options)


def grey(value, mode="I;16"):
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    return Image.fromarray(np.full((4, 4), value, kind))


@pytest.mark.parametrize(
    ("cell", "colour"),
    [
        (stored(Image.new("RGB", (4, 4), RED)), RED),
        (stored(Image.new("L", (4, 4), 100)), (100, 100, 100)),
        (stored(Image.new("1", (4, 4), 1)), (255, 255, 255)),
        (stored(Image.new("LA", (4, 4), (0, 0))), (255, 255, 255)),
        (stored(Image.new("LA", (4, 4), (100, 255))), (100, 100, 100)),
        (stored(Image.new("RGBA", (4, 4), (255, 0, 0, 255))), RED),
        (stored(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), (255, 255, 255)),
        (stored(Image.new("RGBA", (4, 4), (255, 0, 0, 128))), (255, 127, 127)),
        (palette(), RED),
        (palette(transparency=1), (255, 255, 255)),
        (palette(transparency=0), RED),
        (palette(format="GIF"), RED),
        (stored(Image.new("RGB", (4, 4), RED), transparency=RED), (255, 255, 255)),
        (stored(Image.new("L", (4, 4), 7), transparency=7), (255, 255, 255)),
        (stored(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), format="TIFF"), RED),
        (stored(Image.new("RGB", (4, 4), RED), format="BMP"), RED),
        (stored(Image.new("RGB", (4, 4), RED), format="PPM"), RED),
        (stored(Image.new("RGB", (4, 4), RED), format="WEBP", lossless=True), RED),
        (stored(grey(65535)), (255, 255, 255)),
        (stored(grey(257 * 10)), (10, 10, 10)),
        (stored(grey(200, "I"), format="TIFF"), (200, 200, 200)),
        (stored(grey(0.5, "F"), format="TIFF"), (128, 128, 128)),
        (stored(grey(9.0, "F"), format="TIFF"), (9, 9, 9)),
    ],
)
def test_every_mode_becomes_rgb(cell, colour):
    image = images.decode(cell)
    assert image.mode == "RGB"
    assert np.abs(images.to_array(image).astype(int) - colour).max() <= 1


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_jpeg_of_every_mode_becomes_rgb(mode):
    assert images.decode(stored(Image.new(mode, (8, 8)), format="JPEG")).mode == "RGB"


@pytest.mark.parametrize(
    ("mode", "pixel"), [("La", (0, 0)), ("RGBa", (0, 0, 0, 0)), ("HSV", (0, 0, 255)), ("LAB", (255, 128, 128))]
)
def test_rare_modes_become_rgb(mode, pixel):
    image = images.to_rgb(Image.new(mode, (2, 2), pixel))
    assert image.mode == "RGB"
    assert images.to_array(image).min() >= 254 or mode == "LAB"


def test_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    cell = stored(Image.new("RGB", (8, 4)), format="JPEG", exif=exif)
    assert images.decode(cell).size == (4, 8)


def test_the_path_is_used_only_without_bytes(tmp_path):
    cell = stored(Image.new("RGB", (4, 4), RED))
    (tmp_path / "a.png").write_bytes(cell["bytes"])
    cell_with_path = {"bytes": None, "path": str(tmp_path / "a.png")}
    files = images.ImageFiles((str(tmp_path.resolve()),))
    assert images.read_bytes(cell_with_path, files) == cell["bytes"]
    assert images.decode(cell_with_path, files).size == (4, 4)
    assert images.read_bytes(cell | {"path": "/nowhere"}) == cell["bytes"]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "no image"),
        ({"bytes": None, "path": None}, "no image"),
        ({"bytes": b"", "path": None}, "no image"),
        ({"bytes": None, "path": "/nowhere/a.png"}, "the dataset names a file, and only stored bytes are read"),
        ({"bytes": None, "path": "https://example.org/a.png"}, "not a local file"),
        ({"bytes": b"<svg/>", "path": None}, "no image in a known format (6 bytes)"),
        (stored(Image.new("RGB", (2, 2)), format="ICO"), "no image in a known format"),
    ],
)
def test_an_unreadable_image_has_a_reason(cell, reason):
    with pytest.raises(images.UnreadableImage) as error:
        images.decode(cell)
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_a_truncated_image_has_a_reason_in_one_line(image_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = stored(Image.fromarray(noise), format=image_format)["bytes"]
    with pytest.raises(images.UnreadableImage) as error:
        images.decode({"bytes": content[: len(content) // 2]})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [14_143, 20_000])
def test_too_many_pixels_are_refused_before_decoding(side, monkeypatch):
    monkeypatch.setattr(images, "to_rgb", None)
    content = stored(Image.new("1", (side, side)))["bytes"]
    with pytest.raises(images.UnreadableImage, match="more than 200 megapixels"):
        images.decode({"bytes": content})


@settings(max_examples=150, deadline=None)
@given(
    st.binary(min_size=1, max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"GIF89a"]),
)
def test_invalid_bytes_raise_only_unreadable_image(content, start):
    with contextlib.suppress(images.UnreadableImage):
        assert images.decode_bytes(start + content).mode == "RGB"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_raise_only_unreadable_image(data):
    image_format = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]))
    content = bytearray(stored(Image.new("RGB", (9, 7), RED), format=image_format)["bytes"])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(images.UnreadableImage):
        assert images.decode_bytes(bytes(content)).mode == "RGB"


@pytest.mark.parametrize(
    ("image_format", "kind", "largest_error"), [("jpeg", "JPEG", 12), ("png", "PNG", 0), ("webp", "WEBP", 0)]
)
def test_encoded_images_have_the_format_and_the_pixels(image_format, kind, largest_error):
    gradient = np.stack([*np.meshgrid(np.arange(32), np.arange(48)), np.full((48, 32), 200)], axis=-1).astype(np.uint8)
    content = images.encode(gradient, image_format)
    assert Image.open(io.BytesIO(content)).format == kind
    decoded = images.to_array(images.decode_bytes(content))
    assert np.abs(decoded.astype(int) - gradient).max() <= largest_error
    assert content == images.encode(Image.fromarray(gradient), image_format)


def test_jpeg_keeps_colour_at_full_resolution():
    assert b"\x01\x11\x00\x02\x11\x01\x03\x11\x01" in images.encode(np.zeros((8, 8, 3), np.uint8), "jpeg")


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="image_format is 'bmp'; use one of jpeg, png, webp"):
        images.encode(np.zeros((2, 2, 3), np.uint8), "bmp")


@pytest.mark.parametrize(
    ("size", "shorter", "result"),
    [((100, 50), 25, (50, 25)), ((50, 100), 25, (25, 50)), ((30, 30), 64, (30, 30)), ((30, 40), None, (30, 40)),
     ((30, 40), 30, (30, 40)), ((3000, 2), 1, (1500, 1))],
)  # fmt: skip
def test_shrink_reduces_the_shorter_side(size, shorter, result):
    assert images.shrink(Image.new("RGB", size), shorter).size == result


def test_sha256_is_the_hex_digest():
    assert images.sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def deep(low, high, kind=np.uint16):
    """Return a grey image of 16 or 32 bits whose values rise linearly."""
    return Image.fromarray(np.linspace(low, high, 64).reshape(8, 8).astype(kind))


@pytest.mark.parametrize(
    ("image", "dtype", "data", "dark"),
    [
        (deep(0, 4095), (0, 16), (0, 255), True),
        (deep(100, 4095), (0, 16), (0, 255), True),
        (deep(0, 65535), (0, 255), (0, 255), False),
        (deep(0, 4095, np.int32), (0, 16), (0, 255), True),
        (deep(0, 255, np.int32), (0, 255), (0, 255), False),
        (deep(0, 1, np.float32), (0, 255), (0, 255), False),
        (deep(7, 7), (0, 0), (0, 0), False),
        (Image.new("L", (8, 8), 3), (3, 3), (3, 3), False),
    ],
)
def test_grey_images_of_16_and_32_bits_are_scaled_by_their_type_or_their_values(image, dtype, data, dark):
    content = stored(image, format="TIFF")["bytes"]
    assert images.to_array(images.decode_bytes(content)).min() == dtype[0]
    assert images.to_array(images.decode_bytes(content)).max() == dtype[1]
    by_data = images.to_array(images.decode({"bytes": content}, images.ImageFiles(grey_range="data")))
    assert (by_data.min(), by_data.max()) == data
    assert images.is_underexposed(content) is dark


MODES = ("1", "L", "P", "LA", "La", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")


@pytest.mark.parametrize("mode", MODES)
def test_conversion_in_strips_gives_the_pixels_of_the_whole_image(mode, monkeypatch):
    ramp = np.random.default_rng(0).integers(0, 256, (50, 30, 4), dtype=np.uint8)
    image = Image.fromarray(ramp[..., 0].astype(np.uint16) * 200) if mode == "I;16" else as_mode(ramp, mode)
    whole = np.asarray(images.to_rgb(image))
    monkeypatch.setattr(image_modes, "STRIP_PIXELS", 100)
    assert np.array_equal(np.asarray(images.to_rgb(image)), whole)
    assert np.array_equal(images.to_array(images.to_rgb(image)), whole)
    reduced = np.asarray(images.to_rgb(image, reduction=4)).astype(int)
    assert reduced.shape == (13, 8, 3)
    assert np.abs(reduced - np.asarray(Image.fromarray(whole).reduce(4)).astype(int)).max() <= 1


def as_mode(pixels, mode):
    """Return an image with random pixels in a given mode."""
    if mode in ("La", "RGBa"):
        return Image.fromarray(pixels).convert("LA" if mode == "La" else "RGBA").convert(mode)
    if mode == "PA":
        return Image.fromarray(pixels).convert("P").convert("PA")
    if mode in ("LAB", "HSV", "CMYK", "YCbCr"):
        channels = [Image.fromarray(pixels[..., index]) for index in range(4 if mode == "CMYK" else 3)]
        return Image.merge(mode, channels)
    return (
        Image.fromarray(pixels).convert("RGB").convert(mode)
        if "A" not in mode
        else Image.fromarray(pixels).convert(mode)
    )


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
def test_large_images_of_every_format_are_decoded_at_a_quarter_of_their_sides(image_format, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((201, 130), Image.Resampling.BICUBIC)
    content = stored(picture, format=image_format)["bytes"]
    whole = images.decode_bytes(content)
    monkeypatch.setattr(image_cost, "FULL_PIXELS", 1000)
    small = images.decode_bytes(content)
    assert small.size == (51, 33)
    difference = np.asarray(small).astype(int) - np.asarray(whole.reduce(4))
    assert np.abs(difference).mean() < 6


def test_the_largest_aspect_ratio_is_50():
    assert images.decode(stored(Image.new("L", (500, 10)))).size == (500, 10)
    assert images.decode(stored(Image.new("L", (10, 500)))).size == (10, 500)
    with pytest.raises(images.UnreadableImage, match="501 x 10, an aspect ratio above 1:50"):
        images.decode(stored(Image.new("L", (501, 10))))


def test_a_reason_contains_no_text_of_the_file():
    with pytest.raises(images.UnreadableImage) as error:
        images.decode({"bytes": b"P3 2 2 255\n secret-token-of-a-user 1 2"})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"BMW is a brand of cars and the text goes on", None),
        (b"P1 is a text", None),
        (b"P6\n# a comment\n3 4\n255\nxxx", "PPM"),
        (b"P4 3 4\n", "PPM"),
        (b"Pf 3 4 -1.0\n", "PPM"),
        (b"P7\nWIDTH 3\n", None),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", None),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"RIFF\0\0\0\0WEBP", "WEBP"),
        (b"%PDF-1.7", None),
        (b"%!PS-Adobe", None),
        (b"\xd7\xcd\xc6\x9a", None),
        (b"<svg xmlns", None),
        (b"", None),
    ],
)
def test_a_format_is_recognised_by_its_content(head, kind):
    assert images.signature(head) == kind


@pytest.mark.parametrize(
    ("size", "most", "result"), [((100, 50), 5000, (100, 50)), ((100, 50), 4999, (50, 25)), ((101, 50), 600, (34, 17))]
)
def test_an_image_is_reduced_by_an_integer_factor(size, most, result):
    assert images.at_most(Image.new("RGB", size), most).size == result
