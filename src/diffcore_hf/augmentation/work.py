"""Work: what one kind of task still has to compute, and the choice of the next part.

Owns the choice. A worker starts with its own share of what is due. When its share is finished, it takes items of other
shares. Each worker starts at another position, so that two workers rarely choose the same items. Items that other
workers compute now are left out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from diffcore_hf.augmentation.crashes import Item
from diffcore_hf.augmentation.decisions import Decider
from diffcore_hf.augmentation.facts import Facts
from diffcore_hf.augmentation.figures import Figures
from diffcore_hf.augmentation.ledger import Ledger, round_name
from diffcore_hf.augmentation.part_files import REFERENCES
from diffcore_hf.augmentation.part_sizes import PartSizes
from diffcore_hf.augmentation.plan import Plan
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.schedule import Bools, Due
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.tasks import AttemptTask, CommittedPart, ReferenceTask, Task


class Work(Protocol):
    """The items of one kind of task that are due. They change when parts are added."""

    def due(self) -> Due:
        """Return everything that is due, in the order in which it should be computed."""
        ...

    def kind(self, number: int) -> str:
        """Return the kind of the parts of a round."""
        ...

    def task(self, number: int, positions: Sequence[int]) -> Task:
        """Return the task for some items of a round."""
        ...

    def sizes(self, positions: Sequence[int]) -> Sequence[int] | None:
        """Return the number of bytes of each item in memory; None if they need not be limited."""
        ...

    def add(self, part: CommittedPart) -> None:
        """Add the facts of a part that this process computed."""
        ...

    def read_others(self) -> int:
        """Add the facts of new parts of other processes, and return the number of new facts."""
        ...

    def leave_out(self, suspended: Collection[Item]) -> None:
        """Exclude suspended items (crashes.py) from what is due."""
        ...

    def is_suspect(self, due: Due, alone: Collection[Item]) -> Bools:
        """Return (n,) bool: whether each item that is due has to be computed alone (crashes.py)."""
        ...


def new_parts(ledger: Ledger, kind: str, facts: Facts) -> list[Path]:
    """Return the parts of a kind that `facts` does not contain yet."""
    return [path for path in ledger.parts(kind) if path not in facts.paths]


def read_new_attempts(ledger: Ledger, facts: Facts) -> int:
    """Add the facts of the parts about attempts that `facts` does not contain yet, and return their number."""
    before = len(facts)
    # Rounds are listed from the last to the first, and read from the first to the last. So a part is never read
    # without the earlier attempts of its units, even if other workers write parts meanwhile.
    found = [(kind, new_parts(ledger, kind, facts)) for kind in reversed(ledger.rounds())]
    for kind, paths in reversed(found):
        for path in paths:
            facts.read_part(ledger, kind, path)
    return len(facts) - before


class ReferenceWork:
    """The real images of round `ref` that have no facts yet.

    Args:
        run: the run.
        wanted: number of units whose rows are embedded.
        references: the facts of round `ref`; they are extended.
        share: share of this worker. On machines without a shared disk, it embeds only the rows of its units, and all
            references, because every decision depends on them.
    """

    def __init__(self, run: Run, wanted: int, references: Facts, share: Share):
        self._run, self._facts = run, references
        rows = run.plan.rows[:wanted][share.may_compute(np.arange(wanted))]
        self._rows = rows_to_embed(run.plan, rows.tolist(), references)
        self._position = {run.plan.source_ids[row]: row for row in self._rows}

    def due(self) -> Due:
        return Due(np.zeros(len(self._rows), np.int64), np.array(self._rows, np.int64))

    def kind(self, number: int) -> str:
        return REFERENCES

    def task(self, number: int, positions: Sequence[int]) -> ReferenceTask:
        return ReferenceTask(tuple(self._run.plan.source_ids[row] for row in positions))

    def sizes(self, positions: Sequence[int]) -> Sequence[int]:
        bytes_of = self._run.source.sizes[self._run.source.config.split]
        return [bytes_of[row] for row in positions]

    def add(self, part: CommittedPart) -> None:
        assert isinstance(part.task, ReferenceTask)
        self._facts.read_part(self._run.ledger, REFERENCES, part.path)
        # A row whose image cannot be read is computed once in a run, although it stays due for the next run.
        self._remove({self._position[row_id] for row_id in part.task.row_ids if row_id in self._position})

    def read_others(self) -> int:
        paths, before = new_parts(self._run.ledger, REFERENCES, self._facts), len(self._facts)
        for path in paths:
            self._facts.read_part(self._run.ledger, REFERENCES, path)
        if paths:
            unread = self._facts.unread
            done = (self._position.get(key[0]) for key in self._facts.keys if key not in unread)
            self._remove({row for row in done if row is not None})
        return len(self._facts) - before

    def leave_out(self, suspended: Collection[Item]) -> None:
        ids = {key[0] for kind, key in suspended if kind == REFERENCES}
        self._remove({self._position[row_id] for row_id in ids if row_id in self._position})

    def is_suspect(self, due: Due, alone: Collection[Item]) -> Bools:
        rows = [self._position.get(key[0], -1) for kind, key in alone if kind == REFERENCES]
        return np.isin(due.positions, np.array(rows, np.int64))

    def figures(self) -> Figures:
        """Return the state of the run in numbers, before the first attempt."""
        done = len(self._facts) - len(self._facts.unread)
        planned = len(self._run.plan)
        return Figures(planned, 0, 0, 0, (), references_done=done, references_due=len(self._rows))

    def _remove(self, rows: set[int]) -> None:
        self._rows = [row for row in self._rows if row not in rows]


class _AttemptItems:
    """Base class of the work on attempts.

    Args:
        run: the run.
        wanted: number of units whose attempts are made.
        decider: decides about the attempts.
        share: share of this worker.
    """

    def __init__(self, run: Run, wanted: int, decider: Decider, share: Share):
        self._run, self._wanted, self._decider, self._share = run, wanted, decider, share

    def is_suspect(self, due: Due, alone: Collection[Item]) -> Bools:
        return self._decider.is_suspect(due, alone)

    def kind(self, number: int) -> str:
        return round_name(number)

    def task(self, number: int, positions: Sequence[int]) -> AttemptTask:
        return AttemptTask(tuple(self._run.plan.key(unit) for unit in positions), number)

    def sizes(self, positions: Sequence[int]) -> None:
        return None

    def _owned(self, due: Due) -> Due:
        return due[self._share.may_compute(due.positions)]


class FirstWork(_AttemptItems):
    """The attempts 0 that are due. They are known before any attempt is tested.

    One part of this work is computed while another thread tests the attempts that exist. So this object neither tests
    attempts nor adds facts. The part is then added to an AttemptWork.
    """

    def __init__(self, run: Run, wanted: int, decider: Decider, share: Share):
        super().__init__(run, wanted, decider, share)
        units = decider.without_first(wanted)
        self._due = self._owned(Due(np.zeros(len(units), np.int64), units))

    def due(self) -> Due:
        return self._due

    def leave_out(self, suspended: Collection[Item]) -> None:
        plan = self._run.plan
        rows = {row_id for _, (row_id, _) in suspended}
        left_out = [plan.row_ids[unit] in rows for unit in self._due.positions.tolist()]
        self._due = self._due[~np.array(left_out, np.bool_)]

    def add(self, part: CommittedPart) -> None:
        raise ValueError("a part is added to an AttemptWork")

    def read_others(self) -> int:
        return 0


class AttemptWork(_AttemptItems):
    """The attempts of rounds 0, 1, ... that are due. Facts are added to the decider."""

    def __init__(self, run: Run, wanted: int, decider: Decider, share: Share):
        super().__init__(run, wanted, decider, share)
        self._schedule = decider.schedule(wanted)
        self._exact: tuple[int, Due] | None = None
        self._round = 0

    def due(self) -> Due:
        due = self._owned(self._schedule.due())
        if len(due) and due.rounds[0] > self._round:
            # Exact decisions before the next round avoid attempts that no unit needs.
            self._round = int(due.rounds[0])
            self._decider.correct(self._schedule)
            due = self._owned(self._schedule.due())
        return due if len(due) else self._owned(self._exact_due())

    def leave_out(self, suspended: Collection[Item]) -> None:
        self._decider.leave_out(suspended)
        self._exact = None

    def compared(self) -> None:
        """Use new comparisons of images, which can reject attempts that passed before."""
        self._decider.correct(self._schedule)
        self._exact = None

    def figures(self) -> Figures:
        """Return the state of the run in numbers."""
        references = self._decider.references
        done = len(references) - len(references.unread)
        return replace(self._schedule.figures(), references_done=done, reasons=dict(self._decider.take_new()))

    def _exact_due(self) -> Due:
        """Return the items that are due according to the exact decisions, which are renewed only after new facts."""
        count = len(self._decider.attempts)
        if self._exact is None or self._exact[0] != count:
            self._exact = count, self._decider.due(self._wanted)
        return self._exact[1]

    def add(self, part: CommittedPart) -> None:
        """Add the facts of a part that this process computed.

        Raises:
            ValueError: none of its facts has the inputs of the plan. So the inputs of the strategy are not the same in
                each call or process.
        """
        assert isinstance(part.task, AttemptTask)
        self._decider.attempts.read_part(self._run.ledger, round_name(part.task.number), part.path)
        self._decider.take_new()
        first = part.task.units[:1]
        if any((*unit, part.task.number) not in self._decider.attempts.keys for unit in first):
            raise ValueError(
                f"the attempts of round {part.task.number} were computed, but not with the inputs of the plan. "
                f"`preparation()` and `reads` of {self._run.recipe.strategy.name} must return the same values in each "
                "process"
            )

    def read_others(self) -> int:
        count = read_new_attempts(self._run.ledger, self._decider.attempts)
        self._decider.take_new()
        return count


def next_piece(free: Due, share: Share, peers: int, sizes: PartSizes, work: Work) -> tuple[int, list[int]] | None:
    """Return the round and the positions of the next part; None if nothing is free.

    Args:
        free: what is due and not computed by another worker now.
        share: share of this worker.
        peers: number of workers.
        sizes: sizes of the parts of this worker.
        work: the kind of work.
    """
    if not len(free):
        return None
    owned = free[share.owns(free.positions)]
    chosen = owned if len(owned) else _rotated(free, share)
    number = int(chosen.rounds[0])
    positions = chosen.positions[chosen.rounds == number].tolist()
    at_most = math.ceil(len(free) / (2 * peers)) if peers > 1 else None
    count = sizes.take(len(positions), work.sizes(positions), at_most)
    return number, positions[:count]


def next_suspect(free: Due, share: Share) -> tuple[int, list[int]] | None:
    """Return the round and the position of the next item that is computed alone; None if there is none.

    Args:
        free: the suspects that are due and not computed by another worker now.
        share: share of this worker.
    """
    if not len(free):
        return None
    chosen = _rotated(free, share)
    return int(chosen.rounds[0]), chosen.positions[:1].tolist()


def _rotated(free: Due, share: Share) -> Due:
    """Return all items in rotated order, so that each worker has another first item."""
    start = len(free) * share.index // share.count
    order = np.roll(np.arange(len(free)), -start)
    return Due(free.rounds[order], free.positions[order])


def first_attempts(plan: Plan, wanted: int, attempts: Facts) -> int:
    """Return how many of the first `wanted` units have facts about attempt 0."""
    return sum((*key, 0) in attempts.keys for key in islice(plan.keys(), wanted))


def rows_to_embed(plan: Plan, planned: Sequence[int], references: Facts) -> list[int]:
    """Return the rows that round `ref` still has to embed, each once: references first, then planned rows."""
    rows = dict.fromkeys([*plan.references.tolist(), *planned])
    known = {key[0] for key in set(references.keys) - references.unread}
    return [row for row in rows if plan.source_ids[row] not in known]
