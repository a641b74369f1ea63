"""LZ4: unpacks frames, following the public description of the format (lz4_Frame_format.md, lz4_Block_format.md).

Checksums are not compared, because the sha256 of the whole content is compared later. The speed is a few MB per second.
"""

from __future__ import annotations

from testing.hub_double.wire import Refusal

MAGIC = b"\x04\x22\x4d\x18"
CONTENT_SIZE, CONTENT_CHECKSUM, BLOCK_CHECKSUM, DICTIONARY = 0x08, 0x04, 0x10, 0x01
STORED = 1 << 31
SHORTEST = 4
"""Length of the shortest match in bytes."""


def unpack(frame: bytes) -> bytes:
    """Returns the content of one frame.

    Raises:
        Refusal: the content is not a frame, or it ends too early.
    """
    if not frame.startswith(MAGIC) or len(frame) < 7:
        raise Refusal(400, "not an LZ4 frame")
    flags = frame[4]
    position = 7 + (8 if flags & CONTENT_SIZE else 0) + (4 if flags & DICTIONARY else 0)
    plain = bytearray()  # Content of all blocks, because a match may start in an earlier block.
    try:
        while size := int.from_bytes(frame[position : position + 4], "little"):
            position += 4
            block = frame[position : position + (size & ~STORED)]
            position += len(block) + (4 if flags & BLOCK_CHECKSUM else 0)
            if size & STORED:
                plain += block
            else:
                _append(plain, block)
    except IndexError:
        raise Refusal(400, "an LZ4 block is damaged") from None
    return bytes(plain)


def _append(plain: bytearray, block: bytes) -> None:
    """Appends the content of a block. A block has pairs of literals and a match. The last pair has no match."""
    position = 0
    while position < len(block):
        token = block[position]
        count, position = _length(block, position + 1, token >> 4)
        plain += block[position : position + count]
        position += count
        if position >= len(block):
            return
        offset = block[position] | block[position + 1] << 8
        count, position = _length(block, position + 2, token & 15)
        count += SHORTEST
        start = len(plain) - offset
        if not 0 < offset <= len(plain):
            raise IndexError
        if offset >= count:
            plain += plain[start : start + count]
        else:  # The match is longer than its offset, so the last `offset` bytes are repeated.
            whole, rest = divmod(count, offset)
            run = plain[start:]
            plain += run * whole + run[:rest]


def _length(block: bytes, position: int, length: int) -> tuple[int, int]:
    """Reads a length of four bits, with more bytes if all four are set; returns it and the next position."""
    if length == 15:
        while True:
            more = block[position]
            position += 1
            length += more
            if more != 255:
                break
    return length, position
