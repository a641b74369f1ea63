"""Measures the reading of facts: the CPU time for many parts, and the peak memory for many attempts.

To print a table:             python -m benchmarks.facts
To write it into the docs:    python -m benchmarks.facts --write docs/performance.md
To make a short measurement:  python -m benchmarks.facts --parts 50 --rows 64 --attempts 3000 --rounds 1

The parts are synthetic: random embeddings of 512 numbers, and images of a few bytes, because images are not read. The
readers of small parts alternate in one process, and each round reads all parts. `ours` compares the facts of each part
with their hash and stores them as columns. `read_table` reads the same columns of parts with four rows in a row group
by `pyarrow.parquet.read_table`, without a check: earlier versions did so. The memory is that of a whole process that
reads all attempts.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import paragraphs, settings, spread, table, write_section
from diffcore_hf.augmentation.facts import Facts
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.part_files import fact_columns

TITLE = "What reading facts costs"
PACKAGES = ("pyarrow", "numpy")
WIDTH = 512
ROUND = "r0"
INPUTS = "0123456789abcdef0123456789abcdef"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=1000, help="number of small parts")
    parser.add_argument("--rows", type=int, default=64, help="number of attempts of a small part")
    parser.add_argument("--attempts", type=int, default=1_000_000, help="number of attempts for the memory")
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements of each time")
    parser.add_argument("--write", type=Path, help="Markdown page that gets the table")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    return parser


def synthetic_part(number: int, rows: int, generator: np.random.Generator) -> pa.Table:
    """Returns a part with random facts."""
    ids = [hashlib.sha256(f"{number} {row}".encode()).hexdigest()[:32] for row in range(rows)]
    values = pa.array(generator.standard_normal(rows * WIDTH, np.float32).astype(np.float16))
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * WIDTH)
    images = pa.array(
        [{"bytes": b"image", "path": None}] * rows, pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    return pa.table(
        {
            "row_id": ids,
            "copy": pa.array([0] * rows, pa.int32()),
            "attempt": pa.array([0] * rows, pa.int32()),
            "prompt": ["a photo of a crow, a bird, in heavy snow"] * rows,
            "inputs": [INPUTS] * rows,
            "generated_image": images,
            "image_sha256": [hashlib.sha256(row_id.encode()).hexdigest() for row_id in ids],
            "embedding": pa.ListArray.from_arrays(offsets, values),
            "reason": pa.nulls(rows, pa.string()),
        }
    )


def write_parts(folder: Path, parts: int, rows: int, *, earlier: bool = False) -> None:
    """Writes parts into a ledger. If `earlier` is true, they have the row groups of earlier versions and no hash."""
    generator = np.random.default_rng(0)
    ledger = Ledger(folder)
    for number in range(parts):
        part = synthetic_part(number, rows, generator)
        if earlier:
            path = folder / ROUND / f"{number % 256:02x}" / f"{number:016x}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, path, row_group_size=4, compression="zstd", write_statistics=False)
        else:
            ledger.write(ROUND, part)


def read_facts(folder: Path) -> int:
    """Reads all facts and returns their number."""
    return len(Facts.read(Ledger(folder), [ROUND], lambda key: INPUTS))


def read_tables(folder: Path) -> int:
    """Reads the same columns as `read_facts` in the way of earlier versions, and returns the number of rows."""
    columns = list(fact_columns(ROUND))
    return sum(len(pq.read_table(path, columns=columns, partitioning=None)) for path in Ledger(folder).parts(ROUND))


def seconds_of(read: Callable[[Path], int], folder: Path, expected: int) -> float:
    """Returns the CPU time of one reading of all parts."""
    started = time.process_time()
    assert read(folder) == expected
    return time.process_time() - started


def peak_of(folder: Path, attempts: int) -> tuple[float, float]:
    """Returns the peak memory in MB and the time in seconds of a process that reads all facts of a folder."""
    command = [sys.executable, "-m", "benchmarks.facts", "--peak", str(folder), "--attempts", str(attempts)]
    memory, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(memory), float(seconds)


def measure(options: argparse.Namespace) -> str:
    """Returns the text of the section."""
    with tempfile.TemporaryDirectory() as temporary:
        ours, plain, many = (Path(temporary) / name for name in ("ours", "plain", "many"))
        write_parts(ours, options.parts, options.rows)
        write_parts(plain, options.parts, options.rows, earlier=True)
        expected = options.parts * options.rows
        times: list[tuple[float, float]] = []
        for _ in range(options.rounds):
            times.append((seconds_of(read_facts, ours, expected), seconds_of(read_tables, plain, expected)))
        large = min(1000, options.attempts)
        write_parts(many, options.attempts // large, large)
        memory, seconds = peak_of(many, options.attempts)
    rows = [
        ["`ours`, CPU seconds", spread([time for time, _ in times], "{:.2f}")],
        ["`read_table`, CPU seconds", spread([time for _, time in times], "{:.2f}")],
        ["`read_table` / `ours`", spread([theirs / own for own, theirs in times], "{:.1f}")],
        [f"peak memory, {options.attempts:,} attempts", f"{memory:,.0f} MB"],
        [f"CPU time, {options.attempts:,} attempts", f"{seconds:.1f} s"],
    ]
    return paragraphs(
        table([f"{options.parts:,} parts of {options.rows} attempts", "figure"], rows),
        f"The parts are synthetic, with embeddings of {WIDTH} numbers. `ours` compares the facts with their hash and "
        "stores them as columns. `read_table` reads the same columns of parts with small row groups, without a check, "
        "as earlier versions did. The two alternate in one process. Each range goes from the lowest to the highest of "
        f"{options.rounds} measurements. The embeddings alone take {options.attempts * WIDTH * 2 / 1e6:,.0f} MB. Times "
        "are CPU times, because other processes used the machine during the measurement.",
        settings("facts", PACKAGES),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the table and writes it."""
    options = make_parser().parse_args(argv)
    if options.peak is not None:
        started = time.process_time()
        assert read_facts(options.peak) == options.attempts
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, time.process_time() - started)
        return
    text = measure(options)
    print(text)
    if options.write:
        write_section(options.write, TITLE, text)


if __name__ == "__main__":
    main()
