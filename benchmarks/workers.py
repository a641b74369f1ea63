"""Measures the share of the time in which eight workers of one run generate, and the time that durability takes.

To print a table:             python -m benchmarks.workers
To write it into the docs:    python -m benchmarks.workers --write docs/performance.md
To make a short measurement:  python -m benchmarks.workers --workers 2 --photos 40 --seconds 0.05 --parts 2

The workers are processes on one folder, with the code of `augment --worker i/n`. The generator sleeps for each image,
so that the workers need little of the processor. Times are measured from the moment when the last worker begins its
first image. The ends of the rounds are included. For durability, parts of 64 images are written as a worker does it,
with the notes of the worker. The elapsed time is compared with the time that the generation of these images takes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))

import numpy as np
import pyarrow as pa
import tiny_models
import tiny_towers
import worker_processes
from small_photos import write_photos

from benchmarks.facts import synthetic_part
from benchmarks.report import paragraphs, settings, table, write_section
from diffcore_hf.augmentation.crashes import CurrentBatch
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.worker_notes import WorkerNotes
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core.schema import GENERATED_IMAGE
from diffcore_hf.workflows import pictures

TITLE = "What workers cost"
PART, BATCH, IMAGE_BYTES = 64, 8, 100_000
SPEED = 10.0
"""Assumed number of images that a fast GPU generates in a second."""


class Timed(worker_processes.Noise):
    """Sleeps for each image, and records the start and the end of each batch in a file of its process."""

    def sample(self, batch):
        """Returns noise, after a sleep."""
        started = time.monotonic()
        samples = super().sample(batch)
        with open(Path(os.environ["TIMES"]) / str(os.getpid()), "a") as file:
            file.write(f"{started} {time.monotonic()}\n")
        return samples


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, help="number of workers")
    parser.add_argument("--photos", type=int, default=800, help="number of photos")
    parser.add_argument("--seconds", type=float, default=0.5, help="time of an image")
    parser.add_argument("--parts", type=int, default=30, help="number of parts for the cost of durability")
    parser.add_argument("--write", type=Path, help="Markdown page that gets the table")
    return parser


def utilisation(directory: Path, workers: int, photos: int, seconds: float) -> tuple[float, int, int]:
    """Returns the share of the time in which workers generate, and the numbers of all and of unneeded attempts."""
    worker_processes.SECONDS, pictures.SHEET_TILES = seconds, 2
    times = directory / "times"
    times.mkdir()
    os.environ["TIMES"] = str(times)
    source = write_photos(directory / "photos", [photos // 4] * 4)
    tiny_models.seeded(tiny_towers.save_clip, directory / "clip")
    keys = worker_processes.keys_of_run(source, str(directory / "clip"), directory / "out")
    recipe = build_recipe(keys, {"strategy": "benchmarks.workers:Timed", "strict": False, "part_size": BATCH})
    team = [worker_processes.start(recipe, Share(index, workers)) for index in range(workers)]
    statuses = [process.join() or process.exitcode for process in team]
    assert not any(statuses), statuses
    spans = [np.loadtxt(path, ndmin=2) for path in times.iterdir()]
    start, end = max(each[0, 0] for each in spans), max(each[-1, 1] for each in spans)
    worked = sum(float((each[:, 1] - np.maximum(each[:, 0], start)).clip(0).sum()) for each in spans)
    log = [json.loads(line) for line in (directory / "out/.diffcore/run.log.jsonl").read_text().splitlines()]
    decided = [entry for entry in log if entry["event"] == "decided"][-1]
    return worked / (workers * (end - start)), decided["attempts"], decided["ignored"]


def durability(directory: Path, parts: int) -> tuple[float, float]:
    """Returns the elapsed time and the CPU time in seconds for each image of writing parts with their notes."""
    generator = np.random.default_rng(0)
    ledger, current = Ledger(directory / "run/parts"), CurrentBatch(directory / "run")
    notes = WorkerNotes(directory / "run", Share(), "plan")
    notes.start()
    cell = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    tables = []
    for number in range(parts):
        part = synthetic_part(number, PART, generator)
        images = pa.array([{"bytes": generator.bytes(IMAGE_BYTES), "path": None} for _ in range(PART)], cell)
        tables.append(part.set_column(part.schema.get_field_index(GENERATED_IMAGE), GENERATED_IMAGE, images))
    started, cpu = time.monotonic(), time.process_time()
    for part in tables:
        keys = list(zip(part["row_id"].to_pylist(), part["copy"].to_pylist(), strict=True))
        notes.claim("r0", range(PART))
        for start in range(0, PART, BATCH):
            current.record("r0", keys[start : start + BATCH])
            notes.add(BATCH)
        ledger.facts("r0", ledger.write("r0", part))
        current.clear()
    images_made = parts * PART
    return (time.monotonic() - started) / images_made, (time.process_time() - cpu) / images_made


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the table and writes it."""
    options = make_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        elapsed, cpu = durability(Path(name), options.parts)
        share, attempts, ignored = utilisation(Path(name), options.workers, options.photos, options.seconds)
    rows = [
        [f"{options.workers} workers: share of the time in which they generate", f"{share:.3f}"],
        ["attempts that no unit needs", f"{ignored} of {attempts} ({100 * ignored / attempts:.1f} %)"],
        ["durability, elapsed time of an image", f"{1000 * elapsed:.2f} ms"],
        ["durability, CPU time of an image", f"{1000 * cpu:.2f} ms"],
        [f"durability at {SPEED:.0f} images a second, share of the elapsed time", f"{100 * SPEED * elapsed:.2f} %"],
    ]
    text = paragraphs(
        table(["what", "figure"], rows),
        f"The workers generate {attempts} images in all, with a generator that sleeps {options.seconds} s for each. "
        "The time begins when every worker has started its first image, and includes the ends of the rounds. "
        f"Durability is the encoding, hashing, syncing and reading of parts of {PART} images of "
        f"{IMAGE_BYTES // 1000} kB, and the notes of the worker about each batch of {BATCH} images. "
        f"{SPEED:.0f} images a second are assumed, which is fast for one GPU.",
        settings("workers", ("pyarrow", "numpy")),
    )
    print(text)
    if options.write:
        write_section(options.write, TITLE, text)


if __name__ == "__main__":
    main()
