# ruff: noqa: E501 (a table of files, one per line)
"""Hostile image files: small files that need much memory or time to decode, and damaged files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "MPO")
PNG_START = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, image_format: str, **options) -> bytes:
    """Return the encoded bytes of an image."""
    buffer = io.BytesIO()
    if image_format == "MPO":
        options |= {"save_all": True, "append_images": [image]}
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def noise(width: int = 61, height: int = 47, mode: str = "RGB") -> Image.Image:
    """Return a small image with structure at every scale."""
    grain = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def zeros(count: int, level: int = 9) -> bytes:
    """Return `count` zero bytes in compressed form. The uncompressed bytes are never in memory at once."""
    packer = zlib.compressobj(level)
    parts = [packer.compress(bytes(min(2**20, count - start))) for start in range(0, count, 2**20)]
    return b"".join(parts) + packer.flush()


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, interlaced: bool = False, extra: bytes = b"",
        pixels: bytes | None = None) -> bytes:  # fmt: skip
    """Return a PNG file of zero bytes; `extra` are chunks before its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    row = 1 + (width * channels * depth + 7) // 8
    data = zeros(row * height, 1) if pixels is None else pixels
    return PNG_START + chunk(b"IHDR", header) + extra + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(
    width: int, height: int, entries: dict[int, tuple[int, int, int]] | None = None, *, tail: bytes = b""
) -> bytes:
    """Return a TIFF file from entries: tag -> (type, count, value or offset)."""
    tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
            273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, width * height % 2**32)}  # fmt: skip
    tags |= entries or {}
    body = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + struct.pack("<I", 0) + tail


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    """Return bytes in which the first occurrence of `old` is replaced."""
    assert old in content
    return content.replace(old, new, 1)


def jpeg_size(content: bytes, width: int, height: int) -> bytes:
    """Return a JPEG file whose header states a wrong size."""
    start = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    return content[: start + 5] + struct.pack(">HH", height, width) + content[start + 9 :]


def many_scans(count: int) -> bytes:
    """Return a progressive JPEG file whose last scan is repeated."""
    content = jpeg_size(encoded(noise(64, 64), "JPEG", progressive=True), 16000, 4000)
    start = content.rfind(b"\xff\xda")
    return content[:-2] + content[start:-2] * count + b"\xff\xd9"


def exif_loop() -> bytes:
    """Return a JPEG file whose EXIF directory contains itself."""
    directory = struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    return encoded(noise(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + directory)


def webp_canvas(width: int, height: int) -> bytes:
    """Return a WebP file whose extended header states a large canvas."""
    inner = encoded(noise(), "WEBP")[12:]
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_lossless(width: int, height: int) -> bytes:
    """Return a lossless WebP file whose header states a wrong size."""
    content = bytearray(encoded(noise(), "WEBP", lossless=True))
    start = content.find(b"VP8L") + 9
    content[start : start + 4] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return bytes(content)


def avif_size(width: int, height: int) -> bytes:
    """Return an AVIF file whose header states a wrong size."""
    content = encoded(noise(), "AVIF")
    start = content.find(b"ispe") + 8
    return content[:start] + struct.pack(">II", width, height) + content[start + 8 :]


def jpeg2000_size(width: int, height: int, tile: tuple[int, int] | None = None) -> bytes:
    """Return a JPEG 2000 file whose header states a wrong size of the image and of its tiles."""
    content = encoded(noise(), "JPEG2000")
    start, box = content.find(b"\xff\x4f\xff\x51") + 8, content.find(b"ihdr") + 4
    sizes = struct.pack(">IIIIII", width, height, 0, 0, *(tile or (width, height)))
    content = content[:start] + sizes + content[start + 24 :]
    return content[:box] + struct.pack(">II", height, width) + content[box + 8 :]


def gif(width: int, height: int, frames: int = 1) -> bytes:
    """Return a GIF file with a large screen and small frames."""
    content = encoded(noise(8, 8, "P"), "GIF")
    start = content.find(b",\0\0\0\0")
    return content[:6] + struct.pack("<HH", width, height) + content[10:start] + content[start:-1] * frames + b";"


def bombs() -> dict[str, bytes]:
    """Return 44 hostile files by name. The largest has about 5 MB."""
    text, photo = 60_000_000, encoded(noise(), "JPEG")
    bmp = encoded(noise(), "BMP")
    return {
        "png of 2.5 gigapixels": png(50_000, 50_000, colour=0, depth=1, pixels=zeros(1000)),
        "png of 2^31 pixels a side": png(2**31 - 1, 2**31 - 1, pixels=b"x"),
        "png of 400,000 x 1": png(400_000, 1),
        "png of 1 x 400,000": png(1, 400_000),
        "png of 9,000 x 1": png(9_000, 1),
        "png of 0 x 0": png(0, 0, pixels=b""),
        "png of 190 megapixels, two colours": png(14_000, 13_600, depth=1, colour=0),
        "png of 190 megapixels, cut off": png(14_000, 13_600, pixels=zeros(10_000)),
        "png of 100 megapixels, 16 bits": png(10_000, 10_000, depth=16, pixels=zeros(10_000)),
        "png of 60 megapixels, interlaced": png(8_000, 7_500, interlaced=True, pixels=zeros(10_000)),
        "png with compressed text": png(8, 8, extra=chunk(b"zTXt", b"a\0\0" + zeros(text))),
        "png with much compressed text": png(8, 8, extra=chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(900_000)) * 90),
        "png with a compressed profile": png(8, 8, extra=chunk(b"iCCP", b"a\0\0" + zeros(text))),
        "png with 20,000 chunks": png(8, 8, extra=chunk(b"teXt", b"") * 20_000),
        "png with a chunk of 2 GB": PNG_START + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(50),
        "png with pixels that go on": png(8, 8, pixels=zeros(text)),
        "png with an endless EXIF block": png(8, 8, extra=chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0\x12\1\3\0" + b"\xff" * 50)),
        "jpeg of 4 gigapixels": jpeg_size(photo, 65_500, 65_500),
        "jpeg of 195 megapixels, cut off": jpeg_size(photo, 14_000, 13_950),
        "jpeg of 195 megapixels, progressive": jpeg_size(encoded(noise(), "JPEG", progressive=True, subsampling=0), 14_000, 13_950),
        "jpeg of 65,500 x 1": jpeg_size(photo, 65_500, 1),
        "jpeg without height": jpeg_size(photo, 61, 0),
        "jpeg of 2,000 scans": many_scans(2_000),
        "jpeg whose EXIF contains itself": exif_loop(),
        "jpeg with 300 profiles": photo[:2] + (b"\xff\xe2\xff\xff" + b"ICC_PROFILE\0\1\xff".ljust(65_533, b"\0")) * 60 + photo[2:],
        "gif of 4 gigapixels": gif(65_535, 65_535),
        "gif of 190 megapixels": gif(14_000, 13_600),
        "gif of 20,000 frames": gif(64, 64, 20_000),
        "bmp of 2^31 pixels a side": bmp[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + bmp[26:],
        "bmp of negative height": bmp[:18] + struct.pack("<ii", 60_000, -50_000) + bmp[26:],
        "bmp of runs": bmp[:18] + struct.pack("<iihhi", 10_000, 9_000, 1, 8, 1) + bmp[34:] + b"\0\2\0\xff" * 9_000,
        "tiff of 2^32 pixels a side": tiff(2**32 - 1, 2**32 - 1),
        "tiff of 190 megapixels without pixels": tiff(14_000, 13_600),
        "tiff with 2^30 strips": tiff(64, 64, {273: (4, 2**30, 8)}),
        "tiff with a million strips": tiff(64, 64, {273: (4, 10**6, 200), 279: (4, 10**6, 200)}, tail=bytes(4 * 10**6 + 200)),
        "tiff with an orientation of a million values": tiff(64, 64, {274: (3, 10**6, 200)}, tail=bytes(2 * 10**6 + 4096)),
        "tiff of one compressed strip": tiff(14_000, 13_600, {259: (3, 1, 8), 279: (4, 1, 10_000)}, tail=zeros(text)),
        "big tiff with 2^60 entries": b"II\x2b\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60) + bytes(500),
        "webp of a large canvas": webp_canvas(16_384, 16_384),
        "webp of 268 megapixels": webp_lossless(16_383, 16_383),
        "ppm of 10 gigapixels": b"P6 100000 100000 255\n" + bytes(100),
        "ppm of text": b"P3 13000 13000 255\n" + b"1 " * 10**6,
        "avif of 180 megapixels": avif_size(13_500, 13_500),
        "jpeg 2000 of 190 megapixels": jpeg2000_size(14_000, 13_600),
    }  # fmt: skip


def mutations(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield damaged files of every format: changed, removed, repeated and inserted bytes."""
    random = np.random.default_rng(seed)
    originals = {name: encoded(noise(), name) for name in FORMATS}
    originals |= {"PNG P": encoded(noise(mode="P"), "PNG"), "TIFF LZW": encoded(noise(), "TIFF", compression="tiff_lzw"),
                  "JPEG progressive": encoded(noise(mode="CMYK"), "JPEG", progressive=True)}  # fmt: skip
    names = list(originals)
    for number in range(count):
        name = names[number % len(names)]
        content = bytearray(originals[name])
        for _ in range(int(random.integers(1, 6))):
            # Half of the changes are in the header, because a decoder reads all sizes there.
            reach = min(len(content), 200) if random.random() < 0.5 else len(content)
            start = int(random.integers(0, reach))
            kind, size = int(random.integers(0, 4)), int(random.integers(1, 9))
            damage = random.integers(0, 256, size, dtype=np.uint8).tobytes()
            if kind == 0:
                content[start : start + size] = damage
            elif kind == 1:
                del content[start : start + size]
            elif kind == 2:
                content[start:start] = content[start : start + size] * 4
            else:
                content[start : start + 4] = b"\xff\xff\xff\xff" if size % 2 else b"\0\0\0\0"
        yield name, bytes(content)


def giants() -> Iterator[tuple[str, bytes]]:
    """Yield valid images with many pixels, as files of ten kinds, one at a time."""
    side = 9_940  # 99 megapixels
    yield "jpeg of 196 megapixels", encoded(Image.new("RGB", (14_000, 14_000), (200, 90, 30)), "JPEG", subsampling=2)
    yield (
        "progressive jpeg of 99 megapixels",
        encoded(Image.new("CMYK", (side, side), (9, 9, 9, 9)), "JPEG", progressive=True),
    )
    yield "png of 196 megapixels, RGB", png(14_000, 14_000)
    yield "png of 99 megapixels, RGBA", png(side, side, colour=6)
    yield "png of 99 megapixels, grey with alpha", png(side, side, colour=4)
    yield "png of 196 megapixels, 16-bit grey", png(14_000, 14_000, colour=0, depth=16)
    yield "png of 99 megapixels, 16-bit RGB, interlaced", png(side, side, depth=16, pixels=None)
    yield "tiff of 99 megapixels, float", encoded(Image.new("F", (side, side), 0.5), "TIFF")
    yield (
        "tiff of 99 megapixels, CMYK",
        encoded(Image.new("CMYK", (side, side), (9, 9, 9, 9)), "TIFF", compression="tiff_lzw"),
    )
    yield "webp of 50 megapixels", encoded(Image.new("RGBA", (7_100, 7_000), (9, 99, 9, 99)), "WEBP", method=0)
