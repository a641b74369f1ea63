"""Tests of image marks: their properties, their bytes, and the three formats of files that contain them."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcore_hf.core.image_marks import IPTC, MIXED, OWN, SOURCE_TYPES, ImageMark
from diffcore_hf.core.images import decode_bytes, encode, to_array
from diffcore_hf.core.jpeg import fast_decoder

MARK = ImageMark("org/model", "c" * 40, "d" * 32)
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
FORMATS = ("jpeg", "png", "webp")


def properties(packet):
    """Returns the properties of an XMP packet."""
    [description] = ElementTree.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return {name.rpartition("}")[2]: value for name, value in description.attrib.items() if not name.endswith("about")}


def test_a_packet_has_the_properties_of_the_iptc():
    assert properties(MARK.packet()) == {
        "DigitalSourceType": f"{SOURCE_TYPES}trainedAlgorithmicMedia",
        "AISystemUsed": "org/model",
        "AISystemVersionUsed": "c" * 40,
        "AttemptDigest": "d" * 32,
    }
    assert IPTC.encode() in MARK.packet() and OWN.encode() in MARK.packet()
    assert properties(ImageMark(source_type=MIXED).packet()) == {"DigitalSourceType": SOURCE_TYPES + MIXED}


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=600))
@example("\ufffe\uffff ]]> <?xpacket end='w'?>")
def test_any_name_of_a_model_gives_ascii_xml_of_bounded_size(name):
    packet = ImageMark(name or None).packet()
    assert packet.isascii()
    assert len(packet) < 20_000
    properties(packet)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_contains_the_packet_and_the_same_pixels(image_format):
    marked, plain = encode(PIXELS, image_format, MARK), encode(PIXELS, image_format)
    assert marked == encode(PIXELS, image_format, ImageMark("org/model", "c" * 40, "d" * 32))
    assert Image.open(io.BytesIO(marked)).info["xmp"] == MARK.packet()
    assert "xmp" not in Image.open(io.BytesIO(plain)).info
    assert np.array_equal(to_array(decode_bytes(marked)), to_array(decode_bytes(plain)))
    assert len(marked) - len(plain) < 900


def test_the_fast_decoder_accepts_marked_files():
    decode = fast_decoder()
    if decode is None:
        pytest.skip("simplejpeg is not installed")
    content = encode(PIXELS, "jpeg", MARK)
    assert np.array_equal(decode(content), to_array(decode_bytes(content)))


@pytest.mark.parametrize("image_format", FORMATS)
def test_an_image_that_is_encoded_again_has_no_mark(image_format):
    image = Image.open(io.BytesIO(encode(PIXELS, image_format, MARK)))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, image_format)
    assert b"DigitalSourceType" not in buffer.getvalue()
