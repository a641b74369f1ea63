"""Rounds: the tasks that are still to be done, their order and their sizes.

Owns the order of the work (captions, references, preparation, then round 0, 1, ...), the division into parts and the
progress bar. Does not compute parts (worker.py), choose the process that computes them (executors/) or decide about
attempts (decisions.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from diffcore_hf.augmentation.decisions import Decider, read_facts
from diffcore_hf.augmentation.early_stop import STOP_AFTER, is_too_faulty, stop_message
from diffcore_hf.augmentation.executors.base import Executor
from diffcore_hf.augmentation.ledger import REFERENCES, Facts
from diffcore_hf.augmentation.plan import Plan
from diffcore_hf.augmentation.reasons import progress_text
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.tasks import (
    AttemptTask,
    CaptionTask,
    CommittedPart,
    PreparationTask,
    ReferenceTask,
    Task,
)
from diffcore_hf.core import signals
from diffcore_hf.core.quiet import quiet_datasets
from diffcore_hf.generation.base import make_strategy

log = logging.getLogger(__name__)

PART_SECONDS = 60.0
PART_BYTES = 256_000_000
LARGEST_PART = 4096
GROWTH = 8
"""Largest ratio between the sizes of two successive parts. The time of the first part includes the loading of the
model, so the size grows in steps."""

T = TypeVar("T")


class PartSizes(Generic[T]):
    """Divides items into parts of `part_size` items, or of measured sizes if `part_size` is None.

    If sizes are measured, the first part is one device batch. The size of later parts is chosen so that a part takes
    about PART_SECONDS. The division has no influence on the results.

    Args:
        items: the items that are due.
        batch: number of images in a device batch.
        part_size: number of items in each part; None: a multiple of the device batch that depends on measured times.
        sizes: bytes of each item in memory. A part has at most PART_BYTES, unless a single item is larger.
        stop_after: number of items after which a part has to end, rounded up to whole device batches, because the early
            stop is tested there. A fixed `part_size` is not changed.
    """

    def __init__(
        self,
        items: Sequence[T],
        batch: int,
        part_size: int | None,
        sizes: Sequence[int] | None = None,
        stop_after: int = 0,
    ):
        self._items, self._sizes = items, sizes
        self._part_size = part_size
        self._tested = 0 if part_size else math.ceil(max(stop_after, 0) / batch) * batch
        self._size = part_size or batch
        self._start = 0

    def __iter__(self) -> Iterator[Sequence[T]]:
        while self._start < len(self._items):
            count = min(self._size, len(self._items) - self._start)
            if self._start < self._tested:
                count = min(count, self._tested - self._start)
            while self._sizes is not None and count > 1 and self._bytes(count) > PART_BYTES:
                count //= 2
            self._start += count
            yield self._items[self._start - count : self._start]

    def _bytes(self, count: int) -> int:
        assert self._sizes is not None
        return sum(self._sizes[self._start : self._start + count])

    def measured(self, part: CommittedPart) -> None:
        """Adjust the size of the next parts to the time of a committed part."""
        if self._part_size is None and len(part.task):
            rate = len(part.task) / max(part.seconds, 1e-6)
            wanted = int(min(rate * PART_SECONDS, LARGEST_PART, GROWTH * len(part.task)))
            self._size = max(part.batch_size, wanted // part.batch_size * part.batch_size)


@dataclass(frozen=True)
class Collected:
    """The facts of a run after `collect`, and why it ended."""

    decider: Decider
    """Has all facts."""
    interrupted: bool = False
    """True: the user or a signal interrupted the run."""
    signal: int | None = None
    """Number of the signal that interrupted the run; None: it was not interrupted."""
    stopped: str | None = None
    """Why the run stopped early, with a remedy, as one line; None: it did not stop early."""


def collect(run: Run, executor: Executor, *, progress: bool = True) -> Collected:
    """Compute all facts that are due, one part at a time, unless too many attempts are faulty (early_stop.py).

    Args:
        run: the run; its run.json is written.
        executor: computes the parts.
        progress: true shows the progress bar.

    Raises:
        UserError: a model fails on every image. Facts that are already committed are kept.
    """
    collection = _Collection(run, executor)
    try:
        collected = collection.run(progress)
    except KeyboardInterrupt as error:
        log.info("interrupted: the finished images are exported")
        # The ledger is read again, because a part may have been committed but not read when the interruption came.
        decider = collection.decider.reread() if collection.decider else Decider.read(run)
        return Collected(decider, interrupted=True, signal=signals.exit_status(error) - 128)
    finally:
        executor.close()
    if collected.stopped is None:
        return collected
    # Other processes may have committed parts until they were closed. The next run would count them too.
    decider = collected.decider.reread()
    return Collected(decider, stopped=stop_message(decider.decide()) or collected.stopped)


class _Progress:
    """The one progress bar of a run."""

    def __init__(self, total: int, done: int, *, shown: bool):
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(
            total=total,
            initial=done,
            desc="augment",
            unit="image",
            disable=not shown,
            smoothing=0.1,
            dynamic_ncols=True,
        )
        self._bar.set_postfix_str("real images")

    def add(self, count: int) -> None:
        """Show that `count` more images are done."""
        self._bar.update(count)

    def extend(self, count: int) -> None:
        """Show that `count` more images are due."""
        self._bar.total += count
        self._bar.refresh()

    def describe(self, text: str) -> None:
        """Show a text after the bar."""
        self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()


class _Collection:
    """The state of one call of `collect`."""

    def __init__(self, run: Run, executor: Executor):
        self.executor = executor
        self.data = run
        self.decider: Decider | None = None

    def run(self, progress: bool) -> Collected:
        run = self.data
        wanted = run.plan.limited(run.recipe.limit)
        references, attempts = read_facts(run)
        due_rows = rows_to_embed(run.plan, wanted, references)
        done = sum(1 for unit in range(wanted) if (*run.plan.key(unit), 0) in attempts.keys)
        with closing(_Progress(len(due_rows) + wanted, done, shown=progress)) as bar, quiet_datasets():
            self._references(due_rows, references, bar)
            self.decider = Decider(run, references, attempts)
            stopped = self._rounds(wanted, self.decider, bar)
        return Collected(self.decider, stopped=stopped)

    def _references(self, due_rows: Sequence[int], references: Facts, bar: _Progress) -> None:
        """Compute round `ref`: captions, real images, and the preparation of the strategy."""
        run = self.data
        first: list[Task] = [CaptionTask()] if captions_are_missing(run) else []
        for _ in self._parts(first, bar):
            pass
        if due_rows:
            ids = [run.plan.source_ids[row] for row in due_rows]
            sizes = [run.source.sizes[run.source.config.split][row] for row in due_rows]
            pieces = PartSizes(ids, self.executor.batch_size(ReferenceTask), run.recipe.part_size, sizes)
            tasks = (ReferenceTask(tuple(piece)) for piece in pieces)
            for part in self._parts(tasks, bar):
                pieces.measured(part)
                references.read_part(run.ledger, REFERENCES, part.path)
        strategy = make_strategy(run.recipe.strategy, run.recipe.model, strict=run.recipe.strict)
        if strategy.preparation() is not None:
            for _ in self._parts([PreparationTask()], bar):
                pass

    def _parts(self, tasks: Iterable[Task], bar: _Progress) -> Iterator[CommittedPart]:
        """Yield the committed parts of some tasks.

        Raises:
            Stopped: a signal was received, and the part that was then computed is committed and was yielded.
        """
        signals.check()
        for part in self.executor.run(tasks, bar.add):
            yield part
            signals.check()

    def _rounds(self, wanted: int, decider: Decider, bar: _Progress) -> str | None:
        """Compute rounds 0, 1, ... until no attempt is due for the wanted units.

        Returns:
            Why the run stopped early; None if it did not.

        Raises:
            ValueError: a round was computed, but none of its facts has the inputs of the plan. So the inputs of the
                strategy are not the same in each call or process.
        """
        run = self.data
        computed: tuple[int, list[int]] | None = None
        while (due := decider.due(wanted)) is not None:
            if message := self._stop_message(wanted, decider):
                return message
            number, units = due
            if computed == (number, units.tolist()):
                raise ValueError(
                    f"the attempts of round {number} were computed, but not with the inputs of the plan. "
                    f"`preparation()` and `reads` of {run.recipe.strategy.name} must return the same values in each "
                    "process"
                )
            computed = number, units.tolist()
            if number:
                bar.extend(len(units))
            log.info("round %d: %d attempts", number, len(units))
            keys = [run.plan.key(unit) for unit in units.tolist()]
            missing = 0 if run.recipe.max_faulty is None else STOP_AFTER - decider.tally().total()
            batch = self.executor.batch_size(AttemptTask)
            pieces = PartSizes(keys, batch, run.recipe.part_size, stop_after=missing)
            tasks = (AttemptTask(tuple(piece), number) for piece in pieces)
            for part in self._parts(tasks, bar):
                pieces.measured(part)
                decider.add(part, number)
                bar.describe(f"{progress_text(decider.tally())}, round {number}")
                if message := self._stop_message(wanted, decider):
                    return message
        return None

    def _stop_message(self, wanted: int, decider: Decider) -> str | None:
        """Return why the run has to stop; None if it may go on, or if no further attempt is due.

        The tally is tested first, because the decisions about all attempts take longer.
        """
        if not is_too_faulty(decider.tally(), decider.checks, self.data.recipe.max_faulty):
            return None
        return stop_message(decider.decide()) if decider.due(wanted) is not None else None


def rows_to_embed(plan: Plan, wanted: int, references: Facts) -> list[int]:
    """Return the rows that round `ref` still has to embed, each once: references first, then planned rows."""
    rows = dict.fromkeys([*plan.references.tolist(), *plan.rows[:wanted].tolist()])
    known = {key[0] for key in set(references.keys) - references.unread}
    return [row for row in rows if plan.source_ids[row] not in known]


def captions_are_missing(run: Run) -> bool:
    """Return whether the filter's model can embed captions and the ledger lacks a caption, or a scale that is used."""
    texts = run.plan.prompt_texts
    wanted = {*texts.captions(), *texts.context_captions()}
    if not run.resolution.filter["has_text"]:
        return False
    scale_is_missing = run.recipe.filter.policy.name == "text_softmax" and run.ledger.logit_scale() is None
    return scale_is_missing or not wanted <= set(run.ledger.captions())
