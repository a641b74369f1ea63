"""Tests of LZ4: data that an independent library packed is unpacked, and damaged data is refused."""

import random

import pyarrow
import pytest

from testing.hub_double.lz4 import unpack
from testing.hub_double.wire import Refusal

DRAW = random.Random(0)
CONTENTS = {
    "nothing": b"", "one byte": b"x", "zeros": bytes(100_000), "period 3": b"abc" * 5000,
    "random": DRAW.randbytes(70_000),
    "words": b" ".join(DRAW.choice([b"wren", b"robin", b"a", b"0123456789" * 40]) for _ in range(9000)),
    "several blocks": b"".join(DRAW.randbytes(DRAW.randrange(40)) * DRAW.randrange(9) for _ in range(60_000)),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_frames_of_an_lz4_library_are_unpacked(name):
    content = CONTENTS[name]
    assert unpack(pyarrow.compress(content, codec="lz4", asbytes=True)) == content


@pytest.mark.parametrize("frame", [b"", b"no frame", b"\x04\x22\x4d\x18\x40\x40\x00\x02\x00\x00\x00\x0f\xff"])
def test_a_damaged_frame_is_refused(frame):
    with pytest.raises(Refusal):
        unpack(frame)
