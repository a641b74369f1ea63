"""Tests of the fast JPEG decoder, which is used only if its pixels equal those of Pillow."""

from __future__ import annotations

import io
import logging
import sys

import numpy as np
import pytest
from PIL import Image

from diffcore_hf.core import image_cost, images, jpeg

pytest.importorskip("simplejpeg", reason="the extra `fast` is not installed")


def encoded(mode="RGB", image_format="JPEG", **options):
    noise = np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((61, 47)).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


def rotated_with_fill_byte():
    """Return a rotated JPEG file with a fill byte before its EXIF block. The format allows this byte."""
    content = rotated()
    offset = content.index(b"\xff\xe1")
    return content[:offset] + b"\xff" + content[offset:]


CASES = {
    "rotated, with a fill byte": rotated_with_fill_byte(),
    "4:4:4": encoded(subsampling=0), "4:2:2": encoded(subsampling=1), "4:2:0": encoded(subsampling=2),
    "progressive": encoded(progressive=True), "grey": encoded("L"), "cmyk": encoded("CMYK"), "rotated": rotated(),
    "png": encoded(image_format="PNG"), "png with alpha": encoded("RGBA", "PNG"), "webp": encoded(image_format="WEBP"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_fast_decoder_gives_the_pixels_of_pillow(name):
    cell = {"bytes": CASES[name], "path": None}
    expected = images.decode_pixels(cell)
    assert np.array_equal(images.decode_pixels(cell, jpeg.fast_decoder()), expected)
    assert expected.dtype == np.uint8 and expected.ndim == 3 and expected.shape[2] == 3


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", CASES["4:2:0"][:200], b"GIF89a", CASES["4:2:0"][:-400]])
def test_damaged_files_have_the_reason_of_pillow(content):
    def reason(fast):
        try:
            images.decode_pixels({"bytes": content, "path": None}, fast)
        except images.UnreadableImage as error:
            return str(error)
        return "readable"

    assert reason(jpeg.fast_decoder()) == reason(None)


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(jpeg, "MOST_PIXELS", 100)
    monkeypatch.setattr(image_cost, "MAX_PIXELS", 100)
    with pytest.raises(images.UnreadableImage, match="megapixels"):
        images.decode_pixels({"bytes": CASES["4:2:0"], "path": None}, jpeg.fast_decoder())


def test_a_decoder_with_different_pixels_is_not_used(monkeypatch, caplog):
    import simplejpeg

    original = simplejpeg.decode_jpeg
    jpeg.fast_decoder.cache_clear()
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: original(*a, **k) ^ 1)
    with caplog.at_level(logging.WARNING):
        assert jpeg.fast_decoder() is None
    assert "give different pixels" in caplog.text
    jpeg.fast_decoder.cache_clear()


def test_pillow_decodes_if_the_extra_package_is_missing(monkeypatch, caplog):
    jpeg.fast_decoder.cache_clear()
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with caplog.at_level(logging.INFO):
        assert jpeg.fast_decoder() is None
    assert "Pillow" in caplog.text
    jpeg.fast_decoder.cache_clear()
