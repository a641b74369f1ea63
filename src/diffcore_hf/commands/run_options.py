"""Options of the commands that plan, run, divide and unite the work: plan, augment, merge and slurm."""

from __future__ import annotations

from dataclasses import dataclass

from diffcore_hf.config.fields import option
from diffcore_hf.core.signals import GRACE


@dataclass(frozen=True)
class PlanOptions:
    """Show units, prompts and disk space before a run. Loads no model."""

    fetch: bool = option(False, help="Download the models and record their commits, so that a run can be offline.")
    probe: bool = option(False, help="Generate two images to time them.")
    prepare: str | None = option(
        None,
        help=(
            "New output folder for the run. The values of all `auto` keys are chosen on this machine and stored there, "
            "so that the folder can be copied to other machines. No image is generated."
        ),
        example="out/cub",
    )
    report: str | None = option(
        None,
        help=(
            "JSON file for the whole report of the source. It lists all skipped files, all unreadable images and all "
            "identical images by name. An existing file is overwritten only if it is such a report."
        ),
    )
    lint: bool = option(
        False,
        help=(
            "Check the texts of the prompts: names with several meanings, negative terms that name a class or context, "
            "unreadable texts, prompts that are too long, and equal prompts. The exit status is 1 if there are "
            "findings."
        ),
    )
    leaks: bool = option(
        False,
        help=(
            "Compare the real images of all splits, and list those that show the same picture. With --report, all "
            "pairs are in the report, and a sheet of the closest ones is drawn. The exit status is 1 if there are "
            "findings."
        ),
    )
    deny: str | None = option(
        None,
        help=(
            "File with one word or phrase per line that no class name and no context may contain. The exit status is "
            "1 if one does."
        ),
    )


@dataclass(frozen=True)
class AugmentOptions:
    """Generate, check and write the dataset. Run the same command again to resume."""

    grace: float = option(
        GRACE,
        help=(
            "Seconds from a signal (SIGINT, SIGTERM, SIGHUP, SIGUSR1) to the end of the program. The first signal "
            "finishes the device batch and exports. A second signal discards the batch, a third one the export."
        ),
    )
    workers: str | None = option(
        None,
        help=(
            "Number of processes to start on this machine, or auto for one process per GPU, or ray for workers on all "
            "nodes of a Ray cluster: one per GPU or, without GPUs, one per node. null: this process does the work."
        ),
        example="8",
    )
    address: str | None = option(
        None,
        help=(
            "Address of the Ray cluster for --workers ray, as ray start --head prints it. null: the cluster of "
            "RAY_ADDRESS, else the one that runs on this machine, else a new one that ends with this program."
        ),
        example="10.0.0.1:6379",
    )
    worker: str | None = option(
        None,
        help=(
            "Share of this process, if you start several on one output folder: INDEX/COUNT, such as 0/2 and 1/2. "
            "auto/COUNT takes the index from RANK, SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX. null: the share comes "
            "from RANK and WORLD_SIZE (torchrun, accelerate launch) or from the Slurm array, if there is one."
        ),
        example="0/2",
    )
    share_only: bool = option(
        False,
        help=(
            "Compute only the share of this process, and do not export. Use it on machines without a shared disk, and "
            "unite their folders with diffcore-hf merge."
        ),
    )
    crash_suspended: bool = option(
        False,
        help=(
            "Record the attempts of suspended rows as crashed. A row is suspended if it ended its process three times "
            "when it was computed alone. Without this option, it is not tried again and stays pending."
        ),
    )


@dataclass(frozen=True)
class MergeOptions:
    """Copy the facts of other folders with the same settings to OUT, and export OUT. Loads no model."""


@dataclass(frozen=True)
class SlurmOptions:
    """Print the script of a Slurm job array whose tasks work on one output folder on a shared disk."""

    tasks: int = option(8, help="Number of tasks of the array, each with its own GPUs.")
    gpus: int = option(1, help="GPUs of each task. With more than one, a task starts one process per GPU.")
    hours: int = option(24, help="Time limit of a task. At the limit, the task saves its attempts and is queued again.")
    at_once: int | None = option(None, help="Largest number of tasks that run at the same time. null: no limit.")
