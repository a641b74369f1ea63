"""Measures time and memory of `plan` on a large folder of photos.

To print a table:             python -m benchmarks.source
To write it into the docs:    python -m benchmarks.source --write docs/performance.md

The photos are small JPEG files, all different. Wall time and peak resident memory are measured for whole processes. The
first `plan` reads and hashes every photo. The second one finds the hashes in the cache.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.demo import measure
from benchmarks.report import paragraphs, settings, table, write_section

TITLE = "A large folder of photos"
PACKAGES = ("datasets", "pyarrow", "pillow")
COLOURS = ("amber", "black", "blue", "brown", "coral", "dusky", "golden", "green", "grey", "indigo", "ivory", "lilac",
           "olive", "orange", "pearl", "pink", "purple", "red", "rusty", "silver", "snowy", "spotted", "tawny", "teal",
           "violet", "white", "yellow")  # fmt: skip
ANIMALS = ("badger", "bat", "bear", "beaver", "bison", "boar", "camel", "cat", "cobra", "condor", "crab", "crane",
           "crow", "deer", "dingo", "dog", "dolphin", "duck", "eagle", "falcon", "ferret", "finch", "fox", "frog",
           "gecko", "gull", "hare", "hawk", "heron", "hyena", "ibis", "jackal", "koala", "lemur", "lion", "lynx",
           "mole", "moose", "otter")  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000, help="number of class folders, at most 1053")
    parser.add_argument("--photos", type=int, default=100, help="number of photos of a class")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is replaced")
    return parser


def write_folder(folder: Path, classes: int, photos: int) -> None:
    """Writes class folders of small JPEG files. Extra bytes after the JPEG data make every file different."""
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    names = [" ".join(words) for words in product(COLOURS, ANIMALS)][:classes]
    # A hash is kept only for a file that is older than two seconds.
    old = time.time() - 60
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(photos):
            path = folder / name / f"{number}.jpg"
            path.write_bytes(buffer.getvalue() + f"{name}/{number}".encode())
            os.utime(path, (old, old))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `plan` twice and prints the table."""
    args = make_parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder / "photos", args.classes, args.photos)
        time.sleep(3)
        plan = ["plan", "miniature", "--source.path", "photos", "--kind", "general", "--output", "out/photos"]
        rows = [(title, *measure(plan, folder)) for title in ("first `plan`", "second `plan`")]
    cells = [(title, f"{seconds:.1f}", f"{megabytes:,.0f} MB") for title, seconds, megabytes in rows]
    text = paragraphs(
        table(("command", "seconds", "peak memory"), cells),
        f"The folder has {args.classes * args.photos:,} photos in {args.classes:,} class folders. The second `plan` "
        "uses the hashes that the first `plan` stored in the cache folder of the user. "
        f"{settings('source', PACKAGES)}",
    )
    print(text)
    if args.write:
        write_section(args.write, TITLE, text)


if __name__ == "__main__":
    main()
