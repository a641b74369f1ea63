"""Measures the time of the figures of `describe`, and of the sample for the card of an export.

To measure:  python -m benchmarks.describing --images 10000,100000 --classes 1,10,50,200,1000

The embeddings are random, with equal numbers of real and of kept images. Times are CPU seconds of this process, so that
other programs change them little. Set OMP_NUM_THREADS=1 for one thread. `all` is the time of `describe`, and `card` is
the time of an export with the choice of the sample. With --card-only, only the figures of the card are computed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

if not __package__:  # `python benchmarks/describing.py`: the modules of this folder are in the package `benchmarks`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.report import numbers
from diffcore_hf.publishing.description.embedded import EmbeddedImages
from diffcore_hf.publishing.description.sample import sampled
from diffcore_hf.workflows.describe import description_of


def random_images(count: int, classes: int, length: int, seed: int = 0) -> EmbeddedImages:
    """Returns `count` real and `count` kept images with random embeddings, in classes of equal sizes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    real, kept = (random.standard_normal((count, length), dtype=np.float32).astype(np.float16) for _ in range(2))
    ids = [f"train/{row}" for row in range(count)]
    return EmbeddedImages(
        names=tuple(f"class {label}" for label in range(classes)),
        real_ids=ids,
        real_labels=labels,
        real=real,
        real_sha256=ids,
        kept_keys=[(row_id, 0) for row_id in ids],
        kept_labels=labels,
        kept=kept,
        kept_sha256=ids,
        left_out=0,
    )


def cpu_seconds(work: Callable[[], object]) -> float:
    """Returns the CPU time of a function."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Prints one line for each number of images and of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=numbers, default=(10_000, 100_000), help="numbers of kept images")
    parser.add_argument("--classes", type=numbers, default=(1, 10, 50, 200, 1_000), help="numbers of classes")
    parser.add_argument("--length", type=int, default=512, help="numbers of an embedding")
    parser.add_argument("--card-only", action="store_true", help="compute only the figures of the card")
    options = parser.parse_args()
    print("kept images  classes      all     card")
    for count in options.images:
        for classes in options.classes:
            images = random_images(count, classes, options.length)
            card = cpu_seconds(lambda: description_of(sampled(images)))  # noqa: B023 (called at once)
            everything = "" if options.card_only else f"{cpu_seconds(lambda: description_of(images)):.1f} s"  # noqa: B023
            print(f"{count:11,}  {classes:7,}  {everything:>7}  {card:5.1f} s", flush=True)


if __name__ == "__main__":
    main()
