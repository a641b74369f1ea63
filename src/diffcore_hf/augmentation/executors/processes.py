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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from signal import SIGTERM

from diffcore_hf.augmentation.decisions import Decider, read_facts
from diffcore_hf.augmentation.early_stop import stop_message
from diffcore_hf.augmentation.executors.local import LocalExecutor
from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.preparations import Preparation, words_in
from diffcore_hf.augmentation.progress import Progress
from diffcore_hf.augmentation.resolution import Resolution
from diffcore_hf.augmentation.review import Review
from diffcore_hf.augmentation.rounds import Collected, collect
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.tasks import CommittedPart, OnProgress, Task
from diffcore_hf.augmentation.work import rows_to_embed
from diffcore_hf.augmentation.worker_notes import read_notes
from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Time between two checks of the processes."""
MAX_PROCESSES = 256
"""Largest value of --workers. It is above the number of GPUs and cores of one machine, and finds a typing error."""
RESTARTS = 10
"""Largest number of times that killed processes are started again."""
PART_OF_GRACE = 0.7
"""Share of the time after a signal within which a process must end.

In the remaining time, the process that started it exports.
"""
USER_ERROR = 2
"""Exit status of a process that ended with a UserError."""


@dataclass(frozen=True)
class _Order:
    """The values from which a process opens the run. They can be pickled."""

    output: str
    resolution: Resolution
    review: Review
    preparation: Preparation | None
    share: Share
    grace: float
    parent: int
    local_rank: int
    """Number of the process on this machine. It selects the GPU."""


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
            f"--workers is {text!r}; use a number of processes from 1 to {MAX_PROCESSES}, such as 2, or auto"
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
    orders = [
        _Order(
            str(run.folder.path),
            run.resolution,
            run.review,
            run.preparation,
            part,
            grace,
            os.getpid(),
            local_rank,
        )
        for local_rank, part in enumerate(share.divided(count))
    ]
    team = _Team([_Member(order) for order in orders])
    before = frozenset(read_notes(run.folder.private))
    with _environment_of_processes(count), closing(Progress(0, shown=progress)) as bar:
        try:
            team.work(run, bar, before)
        except signals.Stopped as error:
            return Collected(Decider.read(run), interrupted=True, signal=error.number)
        finally:
            team.end()
    decider = Decider.read(run)
    wanted = run.plan.limited(run.recipe.limit)
    due = decider.due(wanted)
    if not share.may_compute(due.positions).any():
        return Collected(decider)
    if message := stop_message(decider.decide()):
        return Collected(decider, stopped=message)
    raise _failure(run, before)


@dataclass
class _Member:
    """One of the processes."""

    order: _Order
    process: SpawnProcess | None = None
    restarts: int = 0

    def start(self) -> None:
        """Start the process."""
        os.environ["LOCAL_RANK"] = str(self.order.local_rank)
        context = multiprocessing.get_context("spawn")
        name = f"worker {self.order.share}"
        self.process = context.Process(target=_work, args=(self.order,), name=name)
        self.process.start()

    def was_killed(self) -> bool:
        """Return whether the process ended by a signal."""
        return self.process is not None and (self.process.exitcode or 0) < 0


@dataclass
class _Team:
    """All processes of a run."""

    members: Sequence[_Member]
    _images: dict[str, int] = field(default_factory=dict)
    """Name of a note -> largest number of images in it."""

    def work(self, run: Run, bar: Progress, before: Iterable[str]) -> None:
        """Start all processes and wait until they have ended.

        Raises:
            Stopped: a signal was received, and the processes have ended after it.
        """
        with ExitStack() as passed_on:
            for member in self.members:
                self._start(member, passed_on)
            bar.expect(_expected(run))
            while alive := [member for member in self.members if member.process and member.process.is_alive()]:
                with signals.interruptible(signals.EXPORT):
                    connection.wait([member.process.sentinel for member in alive if member.process], LOOK_SECONDS)
                bar.add(self._new_images(run, before))
                if signals.requested() is None:
                    self._restart(passed_on)
        signals.check()

    def end(self) -> None:
        """End the processes that still run. Their unfinished parts are computed again by the next run."""
        for member in self.members:
            if member.process is not None and member.process.is_alive():
                member.process.kill()
            if member.process is not None:
                member.process.join()

    def _start(self, member: _Member, passed_on: ExitStack) -> None:
        member.start()
        if member.process is not None and member.process.pid is not None:
            passed_on.enter_context(signals.passed_on(member.process.pid))

    def _restart(self, passed_on: ExitStack) -> None:
        """Start the processes again that were killed, for example by the system because memory was full."""
        for member in self.members:
            if not member.was_killed() or member.restarts >= RESTARTS:
                continue
            assert member.process is not None
            log.warning(
                "worker %s was killed (exit status %s) and is started again",
                member.order.share,
                member.process.exitcode,
            )
            member.restarts += 1
            self._start(member, passed_on)

    def _new_images(self, run: Run, before: Iterable[str]) -> int:
        """Return the number of images that the processes made since the last call."""
        earlier = sum(self._images.values())
        for name, note in read_notes(run.folder.private).items():
            if name not in before:
                self._images[name] = max(note.images, self._images.get(name, 0))
        return sum(self._images.values()) - earlier


class _ChildExecutor(LocalExecutor):
    """Computes parts in a started process, and stops when the process that started it has ended."""

    def __init__(self, run: Run, parent: int):
        super().__init__(run)
        self._parent = parent

    def run(self, tasks: Iterable[Task], on_progress: OnProgress) -> Iterator[CommittedPart]:
        for part in super().run(tasks, on_progress):
            yield part
            if os.getppid() != self._parent:
                raise signals.Stopped(int(SIGTERM))


def _work(order: _Order) -> None:
    """Work on a run in a started process. The exit status is USER_ERROR after a UserError."""
    with signals.handled(PART_OF_GRACE * order.grace):
        try:
            run = _opened(order)
            collect(run, _ChildExecutor(run, order.parent), share=order.share, progress=False)
        except signals.Stopped:
            return
        except UserError as error:
            # The process that started this one prints the error, which is also in the note of this worker.
            log.debug("%s", error)
            sys.exit(USER_ERROR)


def _opened(order: _Order) -> Run:
    """Open the source of a run and return the run.

    Raises:
        UserError: the source changed after the run had started.
    """
    recipe, folder = order.resolution.recipe, Folder(order.output)
    with signals.interruptible(signals.PREPARATION):
        source = load_source(recipe.source, folder=folder, prefix=recipe.columns.prefix)
        if source.identity != order.resolution.identities["source"]:
            raise UserError(
                f"source {recipe.source.path} was changed while the run was working. Run the same command again: it "
                "continues with the changed source"
            )
        plan = make_plan(source, recipe, words_in(order.preparation))
    return Run(source, plan, folder, order.resolution, order.review, preparation=order.preparation, repairs=True)


def _expected(run: Run) -> int:
    """Return how many images are due, without later attempts."""
    wanted = run.plan.limited(run.recipe.limit)
    references, attempts = read_facts(run)
    done = sum(1 for unit in range(wanted) if (*run.plan.key(unit), 0) in attempts.keys)
    return len(rows_to_embed(run.plan, run.plan.rows[:wanted].tolist(), references)) + wanted - done


def _failure(run: Run, before: Iterable[str]) -> Exception:
    """Return the error for processes that ended although attempts are missing."""
    notes = {name: note for name, note in read_notes(run.folder.private).items() if name not in before}
    failed = next((note for note in notes.values() if note.error), None)
    if failed is None:
        return UserError(
            f"all workers of {run.folder.path} were killed more than {RESTARTS} times. Finished attempts are kept. Use "
            "fewer --workers or a smaller --batch_size"
        )
    return UserError(f"worker {failed.worker}: {failed.error}")


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
