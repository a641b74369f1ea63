"""Schedule: the attempts that are due, kept up to date while facts arrive.

Owns the rule for the next attempt of a unit: it is due as soon as the unit's earlier attempts are rejected, without
waiting for the end of the round. So workers never wait for each other between two rounds.

Three decisions depend on other attempts: duplicates, given-up classes and copies. The schedule tests each attempt
alone, so it can differ from the decisions. `filtration.due` is exact, and a run uses it when the schedule is empty. In
the worst case, some attempts are made that no unit needs. `decide` ignores them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.augmentation.figures import Figures, RoundFigures
from diffcore_hf.method.filtration import Decisions, Units, first_units, given_up_classes

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Due:
    """Items that are due, in the order in which they should be computed."""

    rounds: Ints
    """(n,) int64: number of the round of each item."""
    positions: Ints
    """(n,) int64: position of each item in the plan."""

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, selected: Bools | slice) -> Due:
        return Due(self.rounds[selected], self.positions[selected])


NOTHING = Due(np.zeros(0, np.int64), np.zeros(0, np.int64))


class Schedule:
    """The attempts of the first units of a plan that are due.

    Args:
        units: the planned units.
        wanted: number of units, from the start of the plan, whose attempts are made.
        max_attempts: largest number of attempts of a unit.
        classes: number of classes.
    """

    def __init__(self, units: Units, wanted: int, max_attempts: int, classes: int):
        count = len(units.labels)
        self._labels, self._classes = units.labels, classes
        self._wanted, self._unreadable = wanted, int(np.count_nonzero(~units.possible()))
        self._possible = units.possible() & (np.arange(count) < wanted)
        self._present = np.zeros((max_attempts, count), np.bool_)
        self._passed = np.zeros((max_attempts, count), np.bool_)
        self._first = first_units(units)
        self._given_up = np.zeros(classes, np.bool_)

    def add(self, units: Ints, attempts: Ints, passed: Bools) -> None:
        """Add decided attempts.

        Args:
            units: (n,) int64: unit of each attempt.
            attempts: (n,) int64: number of each attempt.
            passed: (n,) bool: whether the attempt passes all checks that need no other attempt.
        """
        self._present[attempts, units] = True
        self._passed[attempts, units] = passed

    def leave_out(self, units: Ints) -> None:
        """Exclude some units from further attempts. They stay pending."""
        self._possible[units] = False

    def has(self, units: Ints, attempt: int) -> Bools:
        """Return (n,) bool: whether attempt `attempt` of each unit is present."""
        return self._present[attempt, units]

    def correct(self, decisions: Decisions, units: Ints, attempts: Ints) -> None:
        """Replace what was decided about each attempt alone by the exact decisions.

        Args:
            decisions: the exact decisions about the attempts that are present.
            units: (n,) int64: unit of each attempt in `decisions`.
            attempts: (n,) int64: number of each attempt in `decisions`.
        """
        self._passed[attempts, units] = False
        kept = decisions.counterpart[decisions.counterpart >= 0]
        self._passed[attempts[kept], units[kept]] = True
        self._given_up = decisions.given_up

    def figures(self) -> Figures:
        """Return the numbers of units by status and of attempts by round."""
        kept = self._possible & (self._present & self._passed).any(axis=0)
        needed, pending, rounds = self._possible, np.zeros(len(self._labels), np.bool_), []
        for present, passed in zip(self._present, self._passed, strict=True):
            missing = needed & ~present & ~kept
            rounds.append(RoundFigures(int(present.sum()), int(missing.sum()), int((present & passed).sum())))
            pending |= missing
            needed = needed & present & ~passed & ~self._given_up[self._labels]
        count = len(self._labels)
        return Figures(
            planned=count,
            kept=int(kept.sum()),
            exhausted=int((self._possible & ~kept & ~pending).sum()),
            failed=self._unreadable,
            rounds=tuple(rounds),
            limited=max(0, count - self._wanted),
        )

    def due(self) -> Due:
        """Return the attempts that are due, by number and in plan order.

        Later attempts of a class that may still be given up come last.
        """
        rejected = self._present[0] & ~self._passed[0]
        given_up = self._given_up | given_up_classes(self._labels, self._first, rejected, self._classes)
        may_be_given_up = given_up_classes(
            self._labels, self._first, rejected | (self._possible & ~self._present[0]), self._classes
        )[self._labels]
        early: list[tuple[int, Ints]] = []
        late: list[tuple[int, Ints]] = []
        needed = self._possible
        for number, (present, passed) in enumerate(zip(self._present, self._passed, strict=True)):
            missing = needed & ~present
            early.append((number, np.flatnonzero(missing & ~(may_be_given_up & (number > 0)))))
            late.append((number, np.flatnonzero(missing & may_be_given_up & (number > 0))))
            needed = needed & present & ~passed & ~given_up[self._labels]
        items = [*early, *late]
        return Due(
            np.concatenate([np.full(len(units), number, np.int64) for number, units in items]),
            np.concatenate([units for _, units in items]),
        )
