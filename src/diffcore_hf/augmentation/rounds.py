"""Rounds: the order in which a worker computes what is still to be done.

Owns the order of the work (captions, references, preparation, then the attempts), the cooperation of several workers
and the early stop. Does not choose the items of a part (work.py), compute parts (worker.py), choose the process that
computes them (executors/) or decide about attempts (decisions.py).

Workers share only the output folder. Each reads the parts that are committed, so it needs no message of the others.
Notes of the workers (worker_notes.py) only avoid that two workers compute the same part.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np

from diffcore_hf.augmentation.comparing import Comparing
from diffcore_hf.augmentation.crashes import CrashWatch
from diffcore_hf.augmentation.decisions import Decider, read_facts
from diffcore_hf.augmentation.disk_space import DiskSpace
from diffcore_hf.augmentation.early_stop import STOP_AFTER, is_too_faulty, stop_message
from diffcore_hf.augmentation.executors.base import Executor
from diffcore_hf.augmentation.figures import FiguresFile
from diffcore_hf.augmentation.ledger import PREPARED
from diffcore_hf.augmentation.part_files import CLASSES
from diffcore_hf.augmentation.part_sizes import PartSizes
from diffcore_hf.augmentation.progress import Progress
from diffcore_hf.augmentation.reasons import progress_text
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.schedule import Due
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.tasks import (
    AttemptTask,
    CaptionTask,
    CommittedPart,
    OnProgress,
    PreparationTask,
    ReferenceTask,
    Task,
)
from diffcore_hf.augmentation.work import (
    AttemptWork,
    FirstWork,
    ReferenceWork,
    Work,
    first_attempts,
    next_piece,
    next_suspect,
    read_new_attempts,
)
from diffcore_hf.augmentation.worker_notes import WorkerNotes
from diffcore_hf.config.policy import reads_class_names
from diffcore_hf.core import signals
from diffcore_hf.core.quiet import quiet_datasets

log = logging.getLogger(__name__)

LARGE = 20_000
"""Smallest number of attempts for which the test is treated as slow, because it takes seconds."""
POLL_SECONDS = 0.05, 2.0
"""Shortest and longest time between two checks of a part that another worker computes."""


@dataclass(frozen=True)
class Collected:
    """The facts of a run after `collect`, and why it ended."""

    decider: Decider
    """The decider, with all facts of the run."""
    interrupted: bool = False
    """True: the user or a signal interrupted the run."""
    signal: int | None = None
    """Number of the signal that interrupted the run; None: it was not interrupted."""
    stopped: str | None = None
    """Why the run stopped early, with a remedy, as one line; None: it did not stop early."""


def collect(run: Run, executor: Executor, *, share: Share | None = None, progress: bool = True) -> Collected:
    """Compute all facts that are due, one part at a time, unless too many attempts are faulty (early_stop.py).

    Args:
        run: the run; its run.json is written.
        executor: computes the parts.
        share: share of this worker; None: this is the only worker.
        progress: true shows the progress bar.

    Raises:
        UserError: a model fails on every image. Facts that are already committed are kept.
    """
    share = share or Share()
    notes = WorkerNotes(run.folder.private, share, run.resolution.recipe_digest)
    notes.start()
    collection = _Collection(run, executor, share, notes)
    try:
        stopped = collection.run(progress)
    except KeyboardInterrupt as error:
        log.info("interrupted: the finished images are exported")
        # The ledger is read again, because a part may have been committed but not read when the interruption came.
        return Collected(collection.reread(), interrupted=True, signal=signals.exit_status(error) - 128)
    except Exception as error:
        notes.failed(str(error))
        raise
    finally:
        executor.close()
        notes.close()
    if stopped is None:
        # Two workers may have computed the same attempt. The ledger is read again, so that the name of the part decides
        # which fact is used, and not the order in which parts were read.
        decider = collection.reread() if collection.read_parts_of_others else collection.decider
        assert decider is not None
        return Collected(decider)
    # The ledger is read again, because other processes may have committed parts before the executor was closed. The
    # next run reads these parts, so the early stop of this run counts them too.
    decider = collection.reread()
    return Collected(decider, stopped=stop_message(decider.decide()) or stopped)


class _Collection:
    """The state of one call of `collect`."""

    def __init__(self, run: Run, executor: Executor, share: Share, notes: WorkerNotes):
        self.executor, self.share, self.notes = executor, share, notes
        self._space = DiskSpace(run)
        self.data = run
        self.decider: Decider | None = None
        self.read_parts_of_others = False
        self._crashes = CrashWatch(run.folder.private)
        self._figures = FiguresFile(run.folder.private)
        self._comparing = Comparing(run)
        self._running: dict[Task, tuple[int, list[int]]] = {}
        """Task -> round and positions of the parts that this process computes now."""

    def reread(self) -> Decider:
        """Return a decider with all facts that are in the ledger now."""
        return Decider.read(self.data)

    def run(self, show_progress: bool) -> str | None:
        """Compute everything that is due, and return why the run stopped early; None: it did not."""
        run = self.data
        wanted = run.plan.limited(run.recipe.limit)
        references, attempts = read_facts(run)
        done = first_attempts(run.plan, wanted, attempts)
        with closing(Progress(done, shown=show_progress)) as bar, quiet_datasets():
            self._bar, self._later = bar, wanted - done
            self._once(CLASSES, lambda: captions_are_missing(run), CaptionTask())
            rows = ReferenceWork(run, wanted, references, self.share)
            rows.leave_out(self._crashes.look().suspended)
            if len(rows.due()):
                self._figures.write(rows.figures, now=True)
                sizes = PartSizes(self.executor.batch_size(ReferenceTask), run.recipe.part_size)
                self._compute(rows, sizes, lambda: self._figures.write(rows.figures))
            self._later = 0
            self._once(PREPARED, lambda: _is_unprepared(run), PreparationTask())
            if count := read_new_attempts(run.ledger, attempts):  # the work above can take hours
                self.read_parts_of_others = True
                bar.add(count)
            self.decider = Decider(run, references, attempts)
            start = self._start_early if _is_large(self.decider, done) else AttemptWork
            return self._attempts(start(run, wanted, self.decider, self.share), self.decider)

    def _start_early(self, run: Run, wanted: int, decider: Decider, share: Share) -> AttemptWork:
        """Compute one part of attempts 0 while another thread fits the policy and tests the attempts that exist."""
        early = FirstWork(run, wanted, decider, share)
        with ThreadPoolExecutor(1) as threads:
            tested = threads.submit(AttemptWork, run, wanted, decider, share)
            sizes = PartSizes(self.executor.batch_size(AttemptTask), run.recipe.part_size)
            parts = list(self._parts(islice(self._tasks(early, sizes), 1), self._count))
            work = tested.result()
        for part in parts:
            self._add(work, part, sizes)
        return work

    def _attempts(self, work: AttemptWork, decider: Decider) -> str | None:
        """Compute rounds 0, 1, ... and return why the run stopped early; None: it did not."""
        while True:
            if message := self._generate(work, decider):
                return message
            if not decider.comparisons:
                return None
            self._bar.describe("compares images")
            is_new = self._comparing.complete(decider)
            work.compared()
            self._bar.describe(progress_text(decider.take_new()))
            self._figures.write(work.figures, now=True)
            if not is_new:
                return None

    def _generate(self, work: AttemptWork, decider: Decider) -> str | None:
        """Generate everything that is due, and return why the run stopped early; None: it did not."""
        self._figures.write(work.figures, now=True)
        if not len(work.due()):
            return None

        def check() -> str | None:
            bar = self._bar
            bar.describe(progress_text(decider.take_new()))
            self._figures.write(work.figures)
            return self._stop_message(work, decider)

        if message := self._stop_message(work, decider):
            return message
        missing = 0 if self.data.recipe.max_faulty is None else STOP_AFTER - decider.take_new().total()
        batch = self.executor.batch_size(AttemptTask)
        try:
            return self._compute(work, PartSizes(batch, self.data.recipe.part_size, missing), check)
        finally:
            self._figures.write(work.figures, now=True)

    def _stop_message(self, work: AttemptWork, decider: Decider) -> str | None:
        """Return why the run has to stop; None if it may continue, or if no further attempt is due.

        The counts are tested first, because the decisions about all attempts take longer.
        """
        if not is_too_faulty(decider.take_new(), decider.checks, self.data.recipe.max_faulty):
            return None
        return stop_message(decider.decide()) if len(work.due()) else None

    def _once(self, kind: str, is_missing: Callable[[], bool], task: Task) -> None:
        """Compute a task that makes one part, unless another worker does."""
        waits = _waits()
        while is_missing():
            if self.notes.claimed(kind):
                self._wait(next(waits))
                continue
            self.notes.claim(kind, [0])
            for _ in self._parts([task], self._bar.add):
                pass
            return

    def _parts(self, tasks: Iterable[Task], on_progress: OnProgress) -> Iterator[CommittedPart]:
        """Yield the committed parts of some tasks.

        Raises:
            Stopped: a signal was received, and the part that was then computed is committed and was yielded.
        """
        signals.check()
        for part in self.executor.run(tasks, on_progress):
            yield part
            signals.check()

    def _wait(self, seconds: float) -> None:
        """Wait for other workers. A signal ends the wait."""
        with signals.interruptible(signals.PREPARATION):
            time.sleep(seconds)

    def _compute(self, work: Work, sizes: PartSizes, check: Callable[[], str | None] = lambda: None) -> str | None:
        """Compute all items of a kind of work, together with the other workers.

        Args:
            work: the kind of work.
            sizes: sizes of the parts.
            check: called after each part; it returns why the run has to stop, or None.

        Returns:
            The result of `check` if it is not None.
        """
        waits = _waits()
        while True:
            for part in self._parts(self._tasks(work, sizes), self._count):
                self._add(work, part, sizes)
                waits = _waits()
                if message := check():
                    return message
            if self._read_others(work):
                waits = _waits()
                if message := check():
                    return message
            due = work.due()
            if not len(due):
                return None
            if not len(self._free(work, due)):
                # Other workers compute the rest. The wait ends when their parts exist or their counters stop.
                self.notes.claim("", [])
                self._wait(next(waits))

    def _add(self, work: Work, part: CommittedPart, sizes: PartSizes) -> None:
        """Add a part that this process computed."""
        self._running.pop(part.task, None)
        sizes.measured(part)
        self.notes.finished(part.seconds)
        work.add(part)
        if isinstance(part.task, AttemptTask):
            self._space.add(part.path, len(part.task))

    def _tasks(self, work: Work, sizes: PartSizes) -> Iterator[Task]:
        """Yield the task of each next part, until some worker computes everything that is due."""
        while True:
            self._read_others(work)
            self._look_for_crashes(work)
            due = work.due()
            self._bar.expect(len(due) + self._later)
            free = self._free(work, due)
            is_suspect = work.is_suspect(free, self._crashes.suspects.alone)
            piece = next_piece(free[~is_suspect], self.share, self.notes.peers(), sizes, work)
            piece = piece or next_suspect(free[is_suspect], self.share)
            if piece is None:
                return
            number, positions = piece
            task, kind = work.task(number, positions), work.kind(number)
            claimed = [*positions, *(item for at, items in self._running.values() if at == number for item in items)]
            self.notes.claim(kind, claimed)
            if not self.notes.claimed(kind).isdisjoint(positions):
                # Another worker chose the same items at the same time. Different waits separate the two.
                self.notes.claim("", [])
                self._wait(POLL_SECONDS[0] * (1 + self.share.index + self.notes.note.pid % 7))
                continue
            self._running[task] = number, positions
            yield task

    def _look_for_crashes(self, work: Work) -> None:
        """Leave out the rows that ended their process several times."""
        before = self._crashes.suspects
        if (suspects := self._crashes.look()) != before:
            work.leave_out(suspects.suspended)

    def _free(self, work: Work, due: Due) -> Due:
        """Return the items that no worker computes now."""
        if not len(due):
            return due
        free = np.ones(len(due), np.bool_)
        for number in np.unique(due.rounds).tolist():
            running = self.notes.claimed(work.kind(number))
            running |= {item for at, items in self._running.values() if at == number for item in items}
            if running:
                free &= (due.rounds != number) | ~np.isin(due.positions, list(running))
        return due[free]

    def _read_others(self, work: Work) -> int:
        """Read the new parts of other workers and return the number of their new facts."""
        if count := work.read_others():
            self.read_parts_of_others = True
            self._bar.add(count)
        return count

    def _count(self, images: int) -> None:
        self._bar.add(images)
        self.notes.add(images)


def _is_large(decider: Decider, done: int) -> bool:
    """Return whether the test of the attempts that exist takes so long that a part is computed meanwhile.

    If the result of the test can be that the run stops early or fails, no part is computed before it.

    Args:
        decider: has all facts.
        done: number of units that have an attempt 0. Each of them has at least one attempt that is counted.
    """
    recipe = decider.run.recipe
    share = recipe.max_faulty
    if len(decider.attempts) < LARGE or reads_class_names(recipe.filter.policy):
        return False
    return share is None or sum(reason is not None for reason in decider.attempts.reasons) < share * done


def _waits() -> Iterator[float]:
    """Yield times that grow from the shortest to the longest."""
    shortest, longest = POLL_SECONDS
    wait = shortest
    while True:
        yield wait
        wait = min(1.5 * wait, longest)


def _is_unprepared(run: Run) -> bool:
    """Return whether the strategy has a preparation that no process has finished."""
    digest = run.inputs.preparation
    return digest is not None and not run.ledger.is_prepared(run.ledger.preparation(digest))


def captions_are_missing(run: Run) -> bool:
    """Return whether the filter's model can embed captions and the ledger lacks a caption, or a scale that is used."""
    texts = run.plan.prompt_texts
    wanted = {*texts.captions(), *texts.context_captions()}
    if not run.resolution.filter["has_text"]:
        return False
    scale_is_missing = run.recipe.filter.policy.name == "text_softmax" and run.ledger.logit_scale() is None
    return scale_is_missing or not wanted <= set(run.ledger.captions())
