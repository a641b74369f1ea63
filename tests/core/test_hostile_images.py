"""Tests of hostile and very large images: each is decoded or has a reason, in bounded memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import image_bombs
import pytest

from diffcore_hf.core import images

HELPER = Path(image_bombs.__file__).with_name("decode_all.py")
MOST_MEMORY = 1_000_000_000

READABLE = {
    "png of 190 megapixels, two colours": "3500 x 3400",
    "png with 20,000 chunks": "8 x 8",
    "png with pixels that go on": "8 x 8",
    "png with an endless EXIF block": "8 x 8",
    "jpeg of 195 megapixels, cut off": "3500 x 3488",  # libjpeg fills the missing part
    "jpeg whose EXIF contains itself": "61 x 47",
    "jpeg with 300 profiles": "61 x 47",
    "gif of 190 megapixels": "3500 x 3400",
    "gif of 20,000 frames": "64 x 64",
}
"""Hostile files that can be decoded. The remaining files have a reason in REASONS."""
REASONS = {
    "png of 2.5 gigapixels": "50000 x 50000, more than 200 megapixels",
    "png of 400,000 x 1": "400000 x 1, an aspect ratio above 1:50",
    "png of 9,000 x 1": "9000 x 1, an aspect ratio above 1:50",
    "png of 190 megapixels, cut off": "broken PNG: image file is truncated",
    "png with compressed text": "no PNG that can be read",
    "jpeg of 195 megapixels, progressive": "14000 x 13950 JPEG: takes 1236 MB to decode, more than 870 MB",
    "jpeg of 2,000 scans": "JPEG with 2010 scans, more than 100",
    "bmp of runs": "10000 x 9000 BMP of a kind that is decoded slowly, more than 8 megapixels",
    "tiff with 2^30 strips": "TIFF with 1073741824 values in one entry",
    "tiff with a million strips": "TIFF with 1000000 values in one entry",
    "tiff with an orientation of a million values": "TIFF with 1000000 values in one entry",
    "tiff of one compressed strip": "14000 x 13600 TIFF, larger than Pillow decodes in one piece",
    "ppm of text": "13000 x 13000 PPM of a kind that is decoded slowly",
    "avif of 180 megapixels": "13500 x 13500 AVIF: takes",
}


def decoded(folder: Path, threads: int) -> tuple[dict[str, tuple[str, float]], int]:
    """Decode all files of a folder in another process. Return the results and the growth of its memory."""
    command = [sys.executable, str(HELPER), str(folder), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    result = json.loads(done.stdout)
    return result["outcomes"], result["growth"]


def write_all(files, folder: Path) -> Path:
    for name, content in files:
        (folder / name.replace("/", "_")).write_bytes(content)
    return folder


def test_every_decompression_bomb_gets_a_reason_in_bounded_memory_and_time(tmp_path):
    bombs = image_bombs.bombs()
    assert len(bombs) == 44
    outcomes, growth = decoded(write_all(bombs.items(), tmp_path), threads=4)
    for name in bombs:
        text, _ = outcomes[name]
        if name in READABLE:
            assert text == READABLE[name]
        else:
            assert text.startswith("unreadable: " + REASONS.get(name, "")), name
    assert growth < MOST_MEMORY
    assert max(seconds for _, seconds in outcomes.values()) < 60


@pytest.mark.slow
def test_many_threads_read_very_large_valid_images_in_bounded_memory(tmp_path):
    outcomes, growth = decoded(write_all(image_bombs.giants(), tmp_path), threads=8)
    assert len(outcomes) == 10
    assert {text for text, _ in outcomes.values()} == {"3500 x 3500", "2485 x 2485", "7100 x 7000"}
    assert growth < MOST_MEMORY


def test_1300_damaged_files_of_every_format_are_read_or_have_a_reason():
    readable, reasons = 0, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _, content in image_bombs.mutations(1300):
            try:
                assert images.decode_bytes(content).mode == "RGB"
                readable += 1
            except images.UnreadableImage as error:
                reasons.add(str(error))
    assert readable > 130
    assert all(reason and "\n" not in reason and len(reason) < 200 for reason in reasons)


def test_threads_that_decode_wait_for_memory():
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier, Lock

    from diffcore_hf.core.image_memory import MemoryBudget

    budget, lock, start = MemoryBudget(100), Lock(), Barrier(8)
    held, peaks = [0], []

    def work(amount: int) -> None:
        start.wait()
        for _ in range(20):
            with budget.reserve(amount), budget.reserve(1000):
                with lock:
                    held[0] += min(amount, 100)
                    peaks.append(held[0])
                with lock:
                    held[0] -= min(amount, 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, (10, 30, 50, 70, 90, 100, 200, 40)))
    assert len(peaks) == 160 and max(peaks) <= 100
