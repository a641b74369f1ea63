"""Writes the script of a Slurm job array whose tasks work on one output folder."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

from diffcore_hf.augmentation.resolution import resolved_recipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, not_a_run, write_atomic

RECIPE = "recipe.yaml"
"""Name of the file below `.diffcore` with the recipe of the run, in which all values are chosen."""
SIGNAL_SECONDS = 120
"""Seconds before the time limit at which Slurm sends SIGUSR1."""
MOST_TASKS = 1000
"""Largest size of an array on many clusters (MaxArraySize)."""


@dataclass(frozen=True)
class Job:
    """The resources of a job array."""

    tasks: int = 8
    gpus: int = 1
    """GPUs of each task. More than one starts a process for each GPU."""
    hours: int = 24
    at_once: int | None = None
    """Largest number of tasks that run at the same time; None: Slurm decides."""


def script(out: str | Path, job: Job) -> str:
    """Return the script, and write the recipe that it uses into the output folder.

    Args:
        out: the folder of a run, or a folder that `plan --prepare` wrote.
        job: the resources.

    Raises:
        UserError: this is not such a folder, its source is in memory, or a number is too small or too large.
    """
    folder = Folder(out)
    run = folder.read_run()
    if run is None:
        raise not_a_run(out, f"Use diffcore-hf plan WHAT --prepare {out} first")
    if run.get("exported") or run.get("cleaned"):
        raise UserError(f"{out} has no parts that a job can continue. Use diffcore-hf plan WHAT --prepare NEW_FOLDER")
    if run.get("in_memory"):
        raise UserError(
            f"the source of {out} is a dataset in memory, which a job cannot open. Save it first (Dataset.to_parquet), "
            "and use diffcore-hf plan FOLDER --prepare NEW_FOLDER"
        )
    for name, value, most in (("tasks", job.tasks, MOST_TASKS), ("gpus", job.gpus, 64), ("hours", job.hours, 8760)):
        if not 1 <= value <= most:
            raise UserError(f"{name} is {value}; use a number from 1 to {most}")
    if job.at_once is not None and job.at_once < 1:
        raise UserError(f"at_once is {job.at_once}; use a number from 1")
    recipe = folder.private / RECIPE
    output = folder.path.resolve()
    content = {name: value for name, value in resolved_recipe(run).items() if name not in ("output", "limit")}
    write_atomic(recipe, yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode())
    command = ["diffcore-hf", "augment", str(recipe.resolve()), "--output", str(output)]
    command += ["--grace", str(SIGNAL_SECONDS - 20)]
    command += ["--workers", str(job.gpus)] if job.gpus > 1 else []
    throttle = f"%{job.at_once}" if job.at_once else ""
    return TEMPLATE.format(
        array=f"0-{job.tasks - 1}{throttle}", gpus=job.gpus, hours=job.hours, seconds=SIGNAL_SECONDS,
        command=shlex.join(command), output=output,
    )  # fmt: skip


TEMPLATE = """\
#!/bin/bash
# Job array of diffcore-hf for {output}
# Submit it with:  sbatch FILE. Add options of your cluster, such as --partition and --account.
#SBATCH --job-name=diffcore-hf
#SBATCH --array={array}
#SBATCH --gres=gpu:{gpus}
#SBATCH --time={hours}:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@{seconds}

# Activate the environment here in which diffcore-hf is installed.
{command} &
worker=$!
# Before the time limit, Slurm sends USR1 to this shell. The worker then saves its attempts and exits with 138.
signalled=
trap 'signalled=1; kill -USR1 "$worker"' USR1
trap 'signalled=1; kill -TERM "$worker"' TERM
wait "$worker"
status=$?
if [ -n "$signalled" ] && [ "$status" -gt 128 ]; then
    # The signal ended the first wait. The second one returns the status of the worker, or 127 if it is known already.
    wait "$worker"
    second=$?
    [ "$second" -eq 127 ] || status=$second
fi
if [ "$status" -eq 138 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$status"
"""
