"""Decodes all files of a folder in several threads, and prints the results and the memory that was needed.

The output is JSON: for each file the result and the time in seconds, and the growth of the memory in bytes.

usage: python decode_all.py FOLDER THREADS
"""

from __future__ import annotations

import io
import json
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from diffcore_hf.core import images
from diffcore_hf.core.image_files import ImageFiles


def memory(name: str) -> int:
    """Return a value of /proc/self/status in bytes, such as VmRSS."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024


def outcome(file: Path, files: ImageFiles) -> tuple[str, float]:
    """Decode a file. Return the size of the image or the reason of the failure, and the time in seconds."""
    started = time.perf_counter()
    try:
        height, width, _ = images.decode_pixels({"bytes": None, "path": str(file)}, files=files).shape
        text = f"{width} x {height}"
    except images.UnreadableImage as error:
        text = f"unreadable: {error}"
    return text, time.perf_counter() - started


def main() -> None:
    warnings.simplefilter("ignore")
    folder, threads = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    images.decode_bytes(buffer.getvalue())  # The first call loads the plugins of Pillow.
    before = memory("VmRSS")
    paths = sorted(folder.iterdir())
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(lambda path: outcome(path, ImageFiles((str(folder),))), paths))
    outcomes = {path.name: result for path, result in zip(paths, results, strict=True)}
    print(json.dumps({"outcomes": outcomes, "growth": memory("VmHWM") - before}))


if __name__ == "__main__":
    main()
