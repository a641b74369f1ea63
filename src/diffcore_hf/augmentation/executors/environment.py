"""The share of a worker that another program starts: torchrun, accelerate, Slurm or Kubernetes.

Owns the names of the environment variables. Workers form no process group: each of them reads its share here and then
works with the output folder alone. So a worker may start late, end early or be missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from diffcore_hf.augmentation.share import Share
from diffcore_hf.core.errors import UserError

RANK, WORLD_SIZE = "RANK", "WORLD_SIZE"
TASK, FIRST_TASK, TASKS = "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"
COMPLETION_INDEX = "JOB_COMPLETION_INDEX"


def share_of(worker: str | None, environ: Mapping[str, str], *, only: bool = False) -> Share:
    """Return the share of this process.

    The first of these is used: `worker`, RANK with WORLD_SIZE, SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_COUNT. Without
    any of them, the process is the only worker.

    Args:
        worker: `INDEX/COUNT` of the option --worker, or `auto/COUNT`. The index then comes from the environment, where
            JOB_COMPLETION_INDEX is also used. None: the option is not given.
        environ: the environment variables.
        only: whether the process computes only its own units, because other workers have another folder.

    Raises:
        UserError: the option or a variable has no valid value, or `only` is true for the only worker.
    """
    index, count = _index_and_count(worker, environ)
    if only and count == 1:
        raise UserError(
            "--share-only needs the share of this machine. Use --worker 0/2 --share-only on the first of two machines"
        )
    return Share(machine=index, machines=count) if only else Share(index, count)


def _index_and_count(worker: str | None, environ: Mapping[str, str]) -> tuple[int, int]:
    if worker is not None:
        return _from_option(worker, environ)
    if RANK in environ and WORLD_SIZE in environ:
        index, count = _number(environ, RANK), _number(environ, WORLD_SIZE)
        if index >= count:
            raise UserError(
                f"the environment variable {RANK} is {index}, but {WORLD_SIZE} is {count}. Use --worker INDEX/COUNT"
            )
        return index, count
    if TASK in environ and TASKS in environ:
        # The numbers of an array may have gaps. Then two tasks can have the same share, and a share can have no task.
        # Workers compute the missing shares of others, so all units are computed in both cases.
        count = max(1, _number(environ, TASKS))
        return _slurm_index(environ) % count, count
    return 0, 1


def _from_option(worker: str, environ: Mapping[str, str]) -> tuple[int, int]:
    match = re.fullmatch(r"(auto|\d{1,9})/(\d{1,9})", worker)
    if match is None or int(match[2]) < 1:
        raise UserError(f"--worker is {worker!r}; use INDEX/COUNT, such as 0/2 and 1/2 for two workers, or auto/2")
    count = int(match[2])
    if match[1] == "auto":
        return _automatic_index(worker, environ) % count, count
    if int(match[1]) >= count:
        raise UserError(f"--worker is {worker!r}, but the last of {count} workers is {count - 1}/{count}. Count from 0")
    return int(match[1]), count


def _automatic_index(worker: str, environ: Mapping[str, str]) -> int:
    if RANK in environ:
        return _number(environ, RANK)
    if TASK in environ:
        return _slurm_index(environ)
    if COMPLETION_INDEX in environ:
        return _number(environ, COMPLETION_INDEX)
    raise UserError(
        f"--worker is {worker!r}, but none of the environment variables {RANK}, {TASK} and {COMPLETION_INDEX} is set. "
        f"Use --worker 0/{worker.partition('/')[2]}"
    )


def _slurm_index(environ: Mapping[str, str]) -> int:
    first = _number(environ, FIRST_TASK) if FIRST_TASK in environ else 0
    return max(0, _number(environ, TASK) - first)


def _number(environ: Mapping[str, str], name: str) -> int:
    if not re.fullmatch(r"\d{1,9}", environ[name].strip()):
        raise UserError(
            f"the environment variable {name} is {environ[name]!r}, which is not an integer of 0 or more. "
            "Use --worker INDEX/COUNT"
        )
    return int(environ[name])
