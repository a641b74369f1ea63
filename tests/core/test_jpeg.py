"""The faster way for JPEG: Pillow's very pixels, or Pillow."""

from __future__ import annotations

import io
import logging
import sys

import numpy as np
import pytest
from PIL import Image

from diffcore_hf.core import images, jpeg

pytest.importorskip("simplejpeg", reason="the extra `fast` is not installed")


def encoded(mode="RGB", image_format="JPEG", **options):
    grain = np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grain).resize((61, 47)).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


def filled():
    """A turned image whose EXIF block has a fill byte before it, which the format allows."""
    content = turned()
    place = content.index(b"\xff\xe1")
    return content[:place] + b"\xff" + content[place:]


CASES = {
    "turned, with a fill byte": filled(),
    "4:4:4": encoded(subsampling=0), "4:2:2": encoded(subsampling=1), "4:2:0": encoded(subsampling=2),
    "progressive": encoded(progressive=True), "grey": encoded("L"), "cmyk": encoded("CMYK"), "turned": turned(),
    "png": encoded(image_format="PNG"), "png with alpha": encoded("RGBA", "PNG"), "webp": encoded(image_format="WEBP"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_fast_way_gives_the_pixels_of_pillow(name):
    cell = {"bytes": CASES[name], "path": None}
    slow = images.decode_pixels(cell)
    assert np.array_equal(images.decode_pixels(cell, jpeg.fast_decoder()), slow)
    assert slow.dtype == np.uint8 and slow.ndim == 3 and slow.shape[2] == 3


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", CASES["4:2:0"][:200], b"GIF89a", CASES["4:2:0"][:-400]])
def test_broken_files_get_the_reason_that_pillow_gives(content):
    def reason(fast):
        try:
            images.decode_pixels({"bytes": content, "path": None}, fast)
        except images.UnreadableImage as error:
            return str(error)
        return "readable"

    assert reason(jpeg.fast_decoder()) == reason(None)


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(jpeg, "MAX_PIXELS", 100)
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(images.UnreadableImage, match="megapixels"):
        images.decode_pixels({"bytes": CASES["4:2:0"], "path": None}, jpeg.fast_decoder())


def test_a_decoder_of_other_pixels_is_not_let_in(monkeypatch, caplog):
    import simplejpeg

    real = simplejpeg.decode_jpeg
    jpeg.fast_decoder.cache_clear()
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: real(*a, **k) ^ 1)
    with caplog.at_level(logging.WARNING):
        assert jpeg.fast_decoder() is None
    assert "give different pixels" in caplog.text
    jpeg.fast_decoder.cache_clear()


def test_without_the_extra_pillow_decodes(monkeypatch, caplog):
    jpeg.fast_decoder.cache_clear()
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with caplog.at_level(logging.INFO):
        assert jpeg.fast_decoder() is None
    assert "Pillow" in caplog.text
    jpeg.fast_decoder.cache_clear()
