"""Kills workers of runs at random moments, starts others, and compares the result with an undisturbed run.

To measure the whole table (about half an hour):  python -m benchmarks.endurance --write docs/reliability.md
To measure a few kills:                           python -m benchmarks.endurance --kills 5 --races 2

Each run has 16 photos, the recipe key `strict` and a strategy without a model, so that it takes about a second. The
moments are drawn with a seed. These rules are checked:

- After all kills, the run ends, and every published byte equals the undisturbed run.
- The number of items that are computed twice is at most one part for each worker and for each kill.
- Workers without a share that start at the same time on one folder all end with status 0, with the same bytes.

A violation is reported as BROKEN, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

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
from diffcore_hf.workflows import augment, pictures

TITLE = "Workers that die"
PHOTOS = (6, 5, 5)
SECONDS = 0.01
"""Seconds that the strategy takes for one image."""
KILLS_IN_A_RUN = 5
PART_SIZES = (1, 2, 3, 5)
BROKEN = "BROKEN"


@dataclass
class Outcome:
    """Counts over all runs of one row of the table."""

    runs: int = 0
    kills: int = 0
    too_late: int = 0
    """Number of kills that came too late, because the worker had already ended."""
    items: int = 0
    """Number of attempts and real images."""
    twice: int = 0
    """Number of these items that were computed twice."""
    failures: list[str] = field(default_factory=list)

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


def kills(bench: Bench, workers: int, count: int, seed: int) -> Outcome:
    """Kills `count` workers of runs that are started again with other numbers of workers and other part sizes."""
    outcome, draw = Outcome(), random.Random(f"{seed} {workers}")
    while outcome.kills < count:
        name = f"run-{workers}-{outcome.runs}"
        for _ in range(min(KILLS_IN_A_RUN, count - outcome.kills)):
            number = 1 if workers == 1 else draw.randint(2, workers + 1)
            recipe = bench.recipe(name, draw.choice(PART_SIZES))
            team = bench.start(recipe, [Share(index, number) for index in range(number)])
            moments = sorted(draw.uniform(0, bench.seconds) for _ in team)
            for worker, wait in zip(team, np.diff([0, *moments]), strict=True):
                time.sleep(wait)
                outcome.too_late += not worker.is_alive()
                outcome.kills += 1
                worker_processes.kill(worker)
        bench.finish(bench.recipe(name, draw.choice(PART_SIZES)), [Share(index, workers) for index in range(workers)],
                     outcome)  # fmt: skip
        bench.check(name, KILLS_IN_A_RUN * (workers + 1), max(PART_SIZES), workers, outcome)
        print(f"{outcome.kills} of {count} kills with {workers} workers, {len(outcome.failures)} broken", flush=True)
    return outcome


def races(bench: Bench, count: int) -> Outcome:
    """Starts two or three workers without a share at the same time."""
    outcome = Outcome()
    for race in range(count):
        number = 2 + race % 2
        bench.finish(bench.recipe(f"race-{race}", 4), [Share()] * number, outcome)
        bench.check(f"race-{race}", 0, 4, 4 * number, outcome)
        print(f"{race + 1} of {count} races, {len(outcome.failures)} broken", flush=True)
    return outcome


def text_of(outcomes: Mapping[str, Outcome], minutes: float) -> str:
    """Returns the section of the page."""
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
processes without `--worker` start at the same time on a new folder. The last column counts the attempts and real images
that were made twice, because two workers chose the same part."""


def main() -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kills with one and with three workers")
    parser.add_argument("--races", type=int, default=24, help="number of races")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--write", type=Path, help="page whose section is replaced")
    args = parser.parse_args()
    started = time.monotonic()
    pictures.SHEET_TILES = 2
    worker_processes.SECONDS = SECONDS
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        rows: dict[str, Callable[[], Outcome]] = {
            "1": lambda: kills(bench, 1, args.kills, args.seed),
            "3": lambda: kills(bench, 3, args.kills, args.seed),
            "2 or 3 without `--worker`": lambda: races(bench, args.races),
        }
        outcomes = {title: measure() for title, measure in rows.items()}
    text = text_of(outcomes, (time.monotonic() - started) / 60)
    print(text)
    if args.write:
        write_section(args.write, TITLE, text)
    failures = Counter(failure for outcome in outcomes.values() for failure in outcome.failures)
    for failure, number in failures.items():
        print(f"{BROKEN} {number} times: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
