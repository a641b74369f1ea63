"""Measures the commands on a large run: `plan` and `status`, and the start of a run that continues.

To print a table:             python -m benchmarks.large_runs
To write it into the docs:    python -m benchmarks.large_runs --write docs/performance.md
To make a short measurement:  python -m benchmarks.large_runs --rows 20000 --parts 200

The source is a folder of Parquet files with tiny JPEG images, all different. The run that continues has another source.
Its facts are written into as many parts as `--parts` says, with random embeddings of 512 numbers and images of a few
bytes. Only the last unit has no attempt. Two times are measured from the start of the process: until the first task,
and until the policy is fitted and all attempts are tested. The process checks the source, and reads and checks all
facts. No weights are loaded, and the libraries of the models are not imported.

Elapsed times are measured only if no other program uses the machine. Otherwise the table has CPU times alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import yaml
from PIL import Image

from benchmarks.report import paragraphs, settings, table, write_section
from benchmarks.source import ANIMALS, COLOURS
from benchmarks.stages import Functions, Stages, StageTime
from diffcore_hf.augmentation.part_files import CLASSES as CAPTIONS
from diffcore_hf.augmentation.part_files import REFERENCES
from diffcore_hf.config.augment_schema import build_recipe

if TYPE_CHECKING:
    from diffcore_hf.augmentation.run import Run
    from diffcore_hf.augmentation.tasks import CommittedPart, OnProgress, Task

TITLE = "A large run"
PACKAGES = ("datasets", "pyarrow", "numpy")
CLASSES = 1000
WIDTH = 512
PROGRAM = ("benchmarks.large_runs",)
SHARD = 50_000
"""Number of rows of a Parquet file of the source."""
PART_ROWS = 32
IDLE = 0.5
"""Elapsed times are measured only if the load average at the start of the measurement is at most this number."""
TASKS = ("write_source", "write_run", "resume")
"""Tasks that run in child processes. A child has at least the peak memory of its parent, so the parent stays small."""


@dataclass(frozen=True)
class Cost:
    """What a process used."""

    seconds: float
    cpu: float
    """CPU time in seconds, with the time in the system."""
    memory: float
    """Peak memory in MB."""

    def cells(self, name: str, *, idle: bool) -> list[str]:
        """Returns a row of the table. The elapsed time is given only for an idle machine."""
        seconds = f"{self.seconds:.1f}" if idle else "not measured"
        return [name, seconds, f"{self.cpu:.1f}", f"{self.memory:,.0f} MB"]


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of rows of the source of `plan`")
    parser.add_argument("--parts", type=int, default=10_000, help="number of parts of the run that continues")
    parser.add_argument("--only", choices=("plan", "resume"), help="measure only one of the two")
    parser.add_argument("--folder", type=Path, help="keep the sources and the runs in this folder, and use them again")
    parser.add_argument("--write", type=Path, help="Markdown page that gets the table")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, default=time.monotonic(), help=argparse.SUPPRESS)
    return parser


def write_source(folder: Path, rows: int) -> None:
    """Writes Parquet files with tiny images of CLASSES classes. Extra bytes make every image different."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    names = [f"{colour} {animal}" for colour in COLOURS for animal in ANIMALS][:CLASSES]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=names)})
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG")
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, rows, SHARD)):
        indices = range(start, min(start + SHARD, rows))
        cells = [{"bytes": buffer.getvalue() + str(row).encode(), "path": None} for row in indices]
        labels = [row % CLASSES for row in indices]
        Dataset.from_dict({"image": cells, "label": labels}, features=features).to_parquet(
            folder / f"train-{number:05d}.parquet"
        )


def keys_of(folder: Path) -> dict[str, Any]:
    """Returns the recipe of a run of the source in a folder, with the models of the package."""
    return {
        "source": {"path": str(folder / "source")},
        "kind": "general",
        "prompts": {"contexts": ["in heavy snow", "in the rain", "at sunset"]},
        "model": {"path": "package:diffcore_hf.miniature/models/sd", "steps": 16},
        "filter": {"path": "package:diffcore_hf.miniature/models/clip"},
        "output": str(folder / "run"),
    }


def cost_of(folder: Path, *arguments: str) -> Cost:
    """Runs a process of Python and returns what it used."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", *arguments]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed")
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


class FirstTask:
    """An executor that measures the time of its first task, and ends the process when the attempts are tested.

    Args:
        stages: the measured functions.
        report: file that gets the measurements.
        started: monotonic time at which the process was started.
        imported: CPU and elapsed time of the imports.
    """

    def __init__(self, stages: Stages, report: Path, started: float, imported: StageTime):
        self._stages, self._report, self._started, self._imported = stages, report, started, imported
        self._first: dict[str, Any] | None = None

    def __call__(self, run: Run) -> FirstTask:
        """Returns this object, which is the executor of the run."""
        return self

    def batch_size(self, task: type) -> int:
        """Returns a batch size without loading a model."""
        return 8

    def run(self, tasks: Iterable[Task], on_progress: OnProgress) -> Iterator[CommittedPart]:
        """Takes the first task without computing it. The second call ends the process.

        A large run calls this method for its first task, and again when the existing attempts are tested.
        """
        task = next(iter(tasks), None)
        state = self._state()
        if self._first is None:
            if task is None:
                raise ValueError("no attempt is due")
            self._first = state
            return
        self._report.write_text(json.dumps({"first": self._first, "tested": state}))
        os._exit(0)
        yield

    def _state(self) -> dict[str, Any]:
        """Returns what the process has used so far."""
        stages = {"imports": self._imported, **self._stages.copy()}
        return {
            "seconds": time.monotonic() - self._started,
            "cpu": time.process_time(),
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
            "stages": {name: (used.elapsed, used.cpu) for name, used in stages.items()},
        }

    def close(self) -> None:
        """Does nothing, because there are no workers."""


def write_run(folder: Path, parts: int) -> None:
    """Writes a source and the facts of its run. Only the last unit has no attempt."""
    from diffcore_hf.workflows import augment

    write_source(folder / "source", parts // 2 * PART_ROWS)
    run = augment.prepare(build_recipe(keys_of(folder)))
    augment.start(run)
    generator = np.random.default_rng(0)
    write_captions(run, generator)
    for start in range(0, len(run.plan.source_ids), PART_ROWS):
        run.ledger.write(REFERENCES, reference_part(run, start, generator))
    for start in range(0, len(run.plan) - 1, PART_ROWS):
        run.ledger.write("r0", attempt_part(run, range(start, min(start + PART_ROWS, len(run.plan) - 1)), generator))


def embeddings(rows: int, generator: np.random.Generator) -> pa.Array:
    """Returns random embeddings as a column."""
    values = pa.array(generator.standard_normal(rows * WIDTH, np.float32).astype(np.float16))
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * WIDTH), values)


def write_captions(run: Run, generator: np.random.Generator) -> None:
    """Writes the part of the captions."""
    texts = run.plan.prompt_texts
    captions = sorted({*texts.captions(), *texts.context_captions()})
    columns = {"prompt": captions, "text_embedding": embeddings(len(captions), generator)}
    run.ledger.write(CAPTIONS, pa.table({**columns, "logit_scale": [14.0] * len(captions)}))


def reference_part(run: Run, start: int, generator: np.random.Generator) -> pa.Table:
    """Returns the facts about PART_ROWS real images."""
    ids = run.plan.source_ids[start : start + PART_ROWS]
    hashes = run.source.sha256[run.source.config.split][start : start + PART_ROWS]
    return pa.table({
        "row_id": ids,
        "inputs": hashes,
        "source_sha256": hashes,
        "embedding": embeddings(len(ids), generator),
        "reason": pa.nulls(len(ids), pa.string()),
    })  # fmt: skip


def attempt_part(run: Run, units: Sequence[int], generator: np.random.Generator) -> pa.Table:
    """Returns the facts about the first attempts of some units."""
    keys = [run.plan.key(unit) for unit in units]
    cell = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.table({
        "row_id": [row_id for row_id, _ in keys],
        "copy": pa.array([copy for _, copy in keys], pa.int32()),
        "attempt": pa.array([0] * len(keys), pa.int32()),
        "inputs": [run.inputs.of_unit(unit) for unit in units],
        "generated_image": pa.array([{"bytes": b"image", "path": None}] * len(keys), cell),
        "image_sha256": [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys],
        "embedding": embeddings(len(keys), generator),
        "reason": pa.nulls(len(keys), pa.string()),
    })  # fmt: skip


def functions() -> Functions:
    """Returns the functions that are measured, by stage, in the order in which a run calls them."""
    from diffcore_hf.augmentation import decisions, disk_space, facts, ledger, part_files, work
    from diffcore_hf.method import policies
    from diffcore_hf.workflows import augment

    return {
        "source, with stored hashes": ((augment, "load_source"), (augment, "changes")),
        "plan": ((augment, "make_plan"),),
        "configurations of the models": ((augment, "resolve_run"),),
        "record of the run": ((augment, "start"),),
        "list and sizes of the parts": ((disk_space.DiskSpace, "__init__"), (ledger.Ledger, "parts")),
        "parsing the parts": ((part_files, "read_facts"),),
        "hashes of the facts": ((part_files, "facts_digest"),),
        "digests of the inputs": ((facts.Facts, "_all_are_new"),),
        "columns of the facts": ((facts.Facts, "add"),),
        "units that are due": (
            (work.ReferenceWork, "__init__"),
            (decisions.Decider, "__init__"),
            (decisions.Decider, "without_first"),
        ),
        "embeddings of the references": ((decisions, "reference_embeddings"),),
        "fit of the policy": ((policies, "fit"),),
        "scores of the attempts": ((policies.FittedPolicy, "verdicts"),),
        "test of the attempts": ((decisions.Decider, "take_new"),),
    }


def resume(folder: Path, started: float) -> None:
    """Continues a run until its first task, and until the existing attempts are tested."""
    import datasets  # noqa: F401

    from diffcore_hf.workflows import augment

    imported = StageTime(time.monotonic() - started, time.process_time())
    executor = FirstTask(Stages(functions()), folder / "report.json", started, imported)
    augment.run(build_recipe(keys_of(folder)), progress=False, executor=executor)


def measure_plan(folder: Path, rows: int, *, idle: bool) -> list[list[str]]:
    """Returns the rows of the table about `plan` and `status`."""
    recipe = folder / "recipe.yaml"
    if not recipe.exists():
        cost_of(folder, *PROGRAM, "--task", "write_source", "--folder", str(folder), "--rows", str(rows))
        recipe.write_text(yaml.safe_dump(keys_of(folder)))
    run, plan = folder / "run", ("diffcore_hf", "plan", str(recipe))
    cells = [cost_of(folder, *plan).cells(f"`plan`, {rows:,} rows", idle=idle)]
    cells.append(cost_of(folder, *plan).cells("the same command again", idle=idle))
    cost_of(folder, *plan, "--prepare", str(run))
    status = cost_of(folder, "diffcore_hf", "status", str(run))
    return [*cells, status.cells("`status` of the prepared folder", idle=idle)]


def measure_resume(folder: Path, parts: int, *, idle: bool) -> tuple[list[list[str]], list[list[str]]]:
    """Returns the rows of the table about a run with many parts, and those of the table of its stages."""
    if not (folder / "written").exists():
        cost_of(folder, *PROGRAM, "--task", "write_run", "--folder", str(folder), "--parts", str(parts))
        (folder / "written").touch()
    cost_of(folder, *PROGRAM, "--task", "resume", "--folder", str(folder), "--started", str(time.monotonic()))
    report = json.loads((folder / "report.json").read_text())
    first, tested = (Cost(*(report[at][name] for name in ("seconds", "cpu", "memory"))) for at in ("first", "tested"))
    (folder / "run/.diffcore/figures.json").unlink(missing_ok=True)
    counted = cost_of(folder, "diffcore_hf", "status", str(folder / "run"))
    cells = [
        first.cells(f"`augment` to its first task, {parts:,} parts", idle=idle),
        tested.cells("the same command until all attempts are tested", idle=idle),
        counted.cells(f"`status` without figures, {parts:,} parts", idle=idle),
    ]
    return cells, stage_cells(report, idle=idle)


def stage_cells(report: dict[str, Any], *, idle: bool) -> list[list[str]]:
    """Returns the rows of the table of stages."""
    before, after = report["first"]["stages"], report["tested"]["stages"]
    cells = []
    for name, (elapsed, cpu) in after.items():
        is_later = before[name][0] < elapsed / 2
        seconds = f"{elapsed:.2f}" if idle else "not measured"
        cells.append([name, "later" if is_later else "first task", seconds, f"{cpu:.2f}"])
    return cells


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints the table and writes it."""
    options = make_parser().parse_args(argv)
    if options.task == "write_source":
        return write_source(options.folder / "source", options.rows)
    if options.task == "write_run":
        return write_run(options.folder, options.parts)
    if options.task == "resume":
        return resume(options.folder, options.started)
    idle = os.getloadavg()[0] < IDLE
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        cells = [] if options.only == "resume" else measure_plan(folder / "plan", options.rows, idle=idle)
        resumed, stages = (
            ([], []) if options.only == "plan" else measure_resume(folder / "resume", options.parts, idle=idle)
        )
    text = paragraphs(
        table(["command", "seconds", "CPU seconds", "peak memory"], [*cells, *resumed]),
        *([table(["stage of `augment`", "needed for", "seconds", "CPU seconds"], stages)] if stages else []),
        f"Each figure is for a whole process with its imports. The source has images of a few bytes in Parquet files "
        f"and {CLASSES:,} classes. Each part has {PART_ROWS} facts with embeddings of {WIDTH} numbers, half of them "
        "about real images. No weights are loaded. CPU times count the process and the system. The CPU time of a stage "
        "counts only the thread that calls its functions, and not the threads of libraries. Elapsed times are "
        "measured only if no other program uses the machine.",
        settings("large_runs", PACKAGES),
    )
    print(text)
    if options.write:
        write_section(options.write, TITLE, text)


if __name__ == "__main__":
    main()
