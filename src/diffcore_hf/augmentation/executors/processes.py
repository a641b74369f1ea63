"""Several workers on this machine: one process for each GPU, or N processes on a CPU.

Owns the start, the restart and the end of these processes. Each process is a worker like any other (rounds.py): it
reads the output folder and gets no tasks from the process that started it. So a run continues if a process dies.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess

from diffcore_hf.augmentation.decisions import Decider
from diffcore_hf.augmentation.executors import team
from diffcore_hf.augmentation.executors.started_worker import WorkOrder, work_on
from diffcore_hf.augmentation.progress import Progress
from diffcore_hf.augmentation.rounds import Collected
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.share import Share
from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
"""Time between two checks of the processes."""
MAX_PROCESSES = 256
"""Largest value of --workers. A larger value is probably a typing error: no machine has so many GPUs or cores."""
USER_ERROR = 2
"""Exit status of a process that ended with a UserError."""


def number_of_processes(text: str) -> int:
    """Return the number of processes for the option --workers, a number or `auto`.

    `auto` means one process per GPU, or one process if there is no GPU.

    Raises:
        UserError: it is neither.
    """
    if text == "auto":
        import torch

        return max(1, torch.cuda.device_count())
    if not re.fullmatch(r"[1-9]\d{0,2}", text) or int(text) > MAX_PROCESSES:
        raise UserError(
            f"--workers is {text!r}; use a number of processes from 1 to {MAX_PROCESSES}, such as 2, or auto, or ray"
        )
    return int(text)


def collect_with_processes(
    run: Run, share: Share, count: int, *, grace: float = signals.GRACE, progress: bool = True
) -> Collected:
    """Compute all facts that are due in `count` processes.

    Args:
        run: the run; its run.json is written, and its source is on disk.
        share: share of all these processes together.
        count: number of processes.
        grace: seconds from a signal to the end of the run.
        progress: true shows the progress bar.

    Raises:
        UserError: a process ended with an error, and attempts are missing.
    """
    orders = [WorkOrder.of(run, part, grace) for part in share.divided(count)]
    notes = team.TeamNotes(run)
    members = [_Member(order, rank, team.Deaths(notes, order.share)) for rank, order in enumerate(orders)]
    processes = _Team(members, notes)
    with _environment_of_processes(count), closing(Progress(0, shown=progress)) as bar:
        try:
            processes.work(bar)
        except signals.Stopped as error:
            return Collected(Decider.read(run), interrupted=True, signal=error.number)
        finally:
            processes.end()
    return team.result(run, share, notes, "Use fewer --workers or a smaller --batch_size")


@dataclass
class _Member:
    """One of the processes."""

    order: WorkOrder
    local_rank: int
    """Number of the process on this machine. It selects the GPU."""
    deaths: team.Deaths
    process: SpawnProcess | None = None

    def start(self) -> None:
        """Start the process."""
        os.environ["LOCAL_RANK"] = str(self.local_rank)
        context = multiprocessing.get_context("spawn")
        name = f"worker {self.order.share}"
        self.process = context.Process(target=_work, args=(self.order, os.getpid()), name=name)
        self.process.start()

    def was_killed(self) -> bool:
        """Return whether the process ended by a signal."""
        return self.process is not None and (self.process.exitcode or 0) < 0


class _Team:
    """All processes of a run.

    Args:
        members: the processes, which are not started.
        notes: the notes of their workers.
    """

    def __init__(self, members: Sequence[_Member], notes: team.TeamNotes):
        self._members, self._notes = members, notes

    def work(self, bar: Progress) -> None:
        """Start all processes and wait until they have ended.

        Raises:
            Stopped: a signal was received, and the processes have ended after it.
        """
        with ExitStack() as passed_on:
            for member in self._members:
                self._start(member, passed_on)
            bar.expect(team.expected(self._notes.run))
            while alive := self._alive(passed_on):
                team.show_progress(bar, self._notes)
                with signals.interruptible(signals.EXPORT):
                    connection.wait([process.sentinel for process in alive], CHECK_SECONDS)
        signals.check()

    def end(self) -> None:
        """End the processes that still run. Their unfinished parts are computed again by the next run."""
        for member in self._members:
            if member.process is not None and member.process.is_alive():
                member.process.kill()
            if member.process is not None:
                member.process.join()

    def _start(self, member: _Member, passed_on: ExitStack) -> None:
        member.start()
        if member.process is not None and member.process.pid is not None:
            passed_on.enter_context(signals.passed_on(member.process.pid))

    def _alive(self, passed_on: ExitStack) -> list[SpawnProcess]:
        """Start killed processes again, unless a signal was received, and return the processes that run."""
        if signals.requested() is None:
            self._restart(passed_on)
        return [process for member in self._members if (process := member.process) and process.is_alive()]

    def _restart(self, passed_on: ExitStack) -> None:
        """Start the processes again that were killed, for example by the system because memory was full."""
        for member in self._members:
            if member.process is None or not member.was_killed():
                continue
            status, member.process = member.process.exitcode, None
            if not member.deaths.add():
                continue
            log.warning(
                "worker %s was killed (exit status %s) and is started again",
                member.order.share,
                status,
            )
            self._start(member, passed_on)


def _work(order: WorkOrder, parent: int) -> None:
    """Work on a run in a started process. The exit status is USER_ERROR after a UserError.

    The process ends after its current part if the process that started it has ended.
    """
    try:
        work_on(order, lambda: os.getppid() == parent)
    except UserError as error:
        # The process that started this one prints the error, which is also in the note of this worker.
        log.debug("%s", error)
        sys.exit(USER_ERROR)


@contextmanager
def _environment_of_processes(count: int) -> Iterator[None]:
    """Set the environment variables that the processes inherit, and restore them afterwards.

    The processes share the cores of this machine, so each gets its part of the threads.
    """
    values: Mapping[str, str] = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    earlier = {name: os.environ.get(name) for name in (*values, "LOCAL_RANK")}
    os.environ.update({name: value for name, value in values.items() if name not in os.environ})
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
