"""Kills workers of runs at random moments, starts others, and compares the result with an undisturbed run.

To measure the whole table:               python -m benchmarks.endurance --write docs/reliability.md
To measure it in pieces of 20 minutes:    python -m benchmarks.endurance --minutes 20, again and again
To measure a few kills:                   python -m benchmarks.endurance --kills 5 --races 2

Each run has 16 photos, the recipe key `strict` and a strategy without a model, so that it takes about a second. A
seed determines the moments of the kills. These rules are checked:

- After all kills, the run ends, and every published byte equals the undisturbed run.
- The number of items that are computed twice is at most one part for each worker and for each kill.
- Workers without a share that start at the same time on one folder all end with status 0, with the same bytes.

A violation is reported as BROKEN, and the exit status is then 1. The counts of each run are stored in the file of
--state, so the same command continues a measurement that was stopped. The file is removed when the page was written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))

import numpy as np
import tiny_models
import tiny_towers
import worker_processes
from run_folders import published
from small_photos import write_photos

from benchmarks.report import paragraphs, settings, table, write_section
from diffcore_hf.augmentation.share import Share
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core.folder import write_atomic
from diffcore_hf.workflows import augment, pictures

TITLE = "Workers that die"
PHOTOS = (6, 5, 5)
SECONDS = 0.01
"""Seconds that the strategy takes for one image."""
KILLS_IN_A_RUN = 5
PART_SIZES = (1, 2, 3, 5)
WORKERS = (1, 3)
RACES = "2 or 3 without `--worker`"
"""Name of the row of races."""
BROKEN = "BROKEN"


@dataclass
class Outcome:
    """Counts of one run, or of all runs of one row of the table."""

    runs: int = 0
    kills: int = 0
    too_late: int = 0
    """Number of kills for which the worker had already ended."""
    items: int = 0
    """Number of attempts and real images."""
    twice: int = 0
    """Number of these items that were computed twice."""
    seconds: float = 0.0
    """Time of the runs."""
    failures: list[str] = field(default_factory=list)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def row(self, name: str) -> list[str]:
        """Returns the row of the table."""
        result = f"{BROKEN}: {self.failures[0]}" if self.failures else "equal"
        share = f"{self.twice} of {self.items}"
        return [name, str(self.runs), str(self.kills), str(self.too_late), result, share]


class Bench:
    """A source, a tower and an undisturbed run."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.source = write_photos(directory / "photos", list(PHOTOS))
        tiny_models.seeded(tiny_towers.save_clip, directory / "clip")
        # This run imports all modules in this process. Forked processes share them and need not import them again.
        augment.run(self.recipe("alone"), progress=False)
        started = time.monotonic()
        self.finish(self.recipe("timed"), [Share()], Outcome())
        self.seconds = time.monotonic() - started
        self.alone = published(directory / "alone")

    def recipe(self, name: str, part_size: int | None = None) -> Recipe:
        """Returns the recipe of a run in a folder."""
        keys = worker_processes.keys_of_run(self.source, str(self.directory / "clip"), self.directory / name)
        return build_recipe(keys, {"part_size": part_size})

    def start(self, recipe: Recipe, shares: Sequence[Share]) -> list[BaseProcess]:
        """Starts a process for each share."""
        return [worker_processes.start(recipe, share, self.directory / "errors") for share in shares]

    def finish(self, recipe: Recipe, shares: Sequence[Share], outcome: Outcome) -> None:
        """Runs workers to their end."""
        statuses = worker_processes.join(self.start(recipe, shares))
        if any(statuses):
            outcome.failures.append(f"exit statuses {statuses}, {self.last_error()}")

    def last_error(self) -> str:
        """Returns the last line that a worker wrote to its error output."""
        lines = (self.directory / "errors").read_text().strip().splitlines()
        return lines[-1] if lines else "no message"

    def check(self, name: str, deaths: int, largest_part: int, workers: int, outcome: Outcome) -> None:
        """Compares a finished run with the undisturbed one, and removes its folder."""
        folder = self.directory / name
        if published(folder) != self.alone:
            outcome.failures.append("other bytes than an undisturbed run")
        counts = worker_processes.made(folder)
        twice = counts.total() - len(counts)
        if twice > largest_part * (deaths + workers):
            outcome.failures.append(f"{twice} items were made twice")
        outcome.runs += 1
        outcome.items += len(counts)
        outcome.twice += twice
        shutil.rmtree(folder)


class OutOfTime(Exception):
    """Raised before a run if the time of --minutes is over."""


class State:
    """The outcomes of finished runs, in a file. A measurement with another seed starts again.

    Args:
        path: path of the file.
        seed: seed of the moments.
        minutes: time after which no run starts; None: there is no limit.
    """

    def __init__(self, path: Path, seed: int, minutes: float | None):
        self._path, self._seed = path, seed
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        stored = json.loads(path.read_text()) if path.is_file() else {}
        self._runs: dict[str, list[dict[str, Any]]] = stored.get("runs", {}) if stored.get("seed") == seed else {}

    def outcomes(self, row: str) -> list[Outcome]:
        """Returns the outcomes of the finished runs of a row."""
        return [Outcome(**values) for values in self._runs.get(row, [])]

    def total(self, row: str) -> Outcome:
        """Returns the sum of all finished runs of a row."""
        return sum(self.outcomes(row), Outcome())

    def measure(self, row: str, run: Callable[[Outcome], None]) -> None:
        """Measures one more run of a row and stores its outcome.

        Raises:
            OutOfTime: the time of the measurement is over.
        """
        if self._end is not None and time.monotonic() > self._end:
            raise OutOfTime
        outcome, started = Outcome(), time.monotonic()
        run(outcome)
        outcome.seconds = time.monotonic() - started
        self._runs.setdefault(row, []).append(asdict(outcome))
        write_atomic(self._path, json.dumps({"seed": self._seed, "runs": self._runs}).encode())
        total = self.total(row)
        print(
            f"{row}: {total.runs} runs, {total.kills} kills, {len(total.failures)} broken, {total.seconds:.0f} s",
            flush=True,
        )


def kill_workers(bench: Bench, workers: int, most: int, seed: int, index: int, outcome: Outcome) -> None:
    """Measures one run. Its workers are killed and started again with other numbers of workers and other part sizes.

    Args:
        bench: source and undisturbed run.
        workers: number of workers; with more than one, each start has another number of workers.
        most: after this number of kills, no further workers are started.
        seed: seed of the moments.
        index: number of the run.
        outcome: gets the counts.
    """
    draw, name = random.Random(f"{seed} {workers} {index}"), f"run-{workers}-{index}"
    starts = min(KILLS_IN_A_RUN, most)
    for _ in range(starts):
        number = 1 if workers == 1 else draw.randint(2, workers + 1)
        recipe = bench.recipe(name, draw.choice(PART_SIZES))
        team = bench.start(recipe, [Share(index, number) for index in range(number)])
        moments = sorted(draw.uniform(0, bench.seconds) for _ in team)
        for worker, wait in zip(team, np.diff([0, *moments]), strict=True):
            time.sleep(wait)
            outcome.too_late += not worker.is_alive()
            outcome.kills += 1
            worker_processes.kill(worker)
    shares = [Share(index, workers) for index in range(workers)]
    bench.finish(bench.recipe(name, draw.choice(PART_SIZES)), shares, outcome)
    bench.check(name, outcome.kills, max(PART_SIZES), workers, outcome)


def race(bench: Bench, index: int, outcome: Outcome) -> None:
    """Measures one race: two or three workers without a share start at the same time."""
    number = 2 + index % 2
    bench.finish(bench.recipe(f"race-{index}", 4), [Share()] * number, outcome)
    bench.check(f"race-{index}", 0, 4, 4 * number, outcome)


def measure(bench: Bench, state: State, args: argparse.Namespace) -> None:
    """Measures all runs that the state does not contain yet.

    Raises:
        OutOfTime: the time of the measurement is over.
    """
    for workers in WORKERS:
        row = str(workers)
        while (missing := args.kills - state.total(row).kills) > 0:
            index = state.total(row).runs
            state.measure(row, partial(kill_workers, bench, workers, missing, args.seed, index))
    while (index := state.total(RACES).runs) < args.races:
        state.measure(RACES, partial(race, bench, index))


def text_of(outcomes: Mapping[str, Outcome]) -> str:
    """Returns the section of the page."""
    minutes = sum(outcome.seconds for outcome in outcomes.values()) / 60
    head = ["workers", "runs", "killed", "ended before the kill", "published bytes", "made twice"]
    return paragraphs(
        *INTRODUCTION.split("\n\n"),
        table(head, [outcome.row(name) for name, outcome in outcomes.items()]),
        f"The measurement took {minutes:.0f} minutes. {settings('endurance', ('pyarrow', 'datasets', 'torch'))}",
    )


INTRODUCTION = """\
`make endure` repeats these tests. Each worker of a run is killed with SIGKILL at a random moment. Then other workers
continue the run, with another number of workers and another size of parts. At the end, every published byte is compared
with an undisturbed run of one process. The key `strict` is true, and the strategy needs no model.

The first rows of the table are for runs with one worker and with three workers. The last row is for races: two or three
processes without `--worker` start at the same time on a new folder. The last column counts the attempts and the
embeddings of real images that were made twice, because two workers chose the same part."""


def main() -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kills with one and with three workers")
    parser.add_argument("--races", type=int, default=24, help="number of races")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--write", type=Path, help="page whose section is replaced")
    parser.add_argument("--state", type=Path, default=Path("out/endurance.json"), help="file of the finished runs")
    parser.add_argument("--minutes", type=float, help="time after which no run starts, and the exit status is 3")
    args = parser.parse_args()
    state = State(args.state, args.seed, args.minutes)
    pictures.SHEET_TILES = 2
    worker_processes.SECONDS = SECONDS
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        print(f"an undisturbed run takes {bench.seconds:.1f} s", flush=True)
        try:
            measure(bench, state, args)
        except OutOfTime:
            print(f"The time is over. The same command continues with {args.state}")
            return 3
    outcomes = {row: state.total(row) for row in (*map(str, WORKERS), RACES)}
    text = text_of(outcomes)
    print(text)
    if args.write:
        write_section(args.write, TITLE, text)
        args.state.unlink(missing_ok=True)
    failures = Counter(failure for outcome in outcomes.values() for failure in outcome.failures)
    for failure, number in failures.items():
        print(f"{BROKEN} {number} times: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
