"""Statuses: recomputes the status of a unit from its attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from diffcore_hf.core.schema import UnitKey
from diffcore_hf.method.checks import CRASHED
from diffcore_hf.publishing.audit.attempts import SUPERSEDED, AttemptTally
from diffcore_hf.publishing.audit.references import ReferenceTable


@dataclass(frozen=True)
class Statuses:
    """The facts from which statuses follow."""

    tally: AttemptTally
    references: ReferenceTable
    given_up: Collection[int]
    """Labels of the classes that were given up."""
    max_attempts: int

    def of(self, unit: UnitKey) -> str | None:
        """Return the status of a planned unit; None if it does not follow from the attempts."""
        reasons = self.tally.reasons.get(unit)
        if unit in self.tally.kept:
            return "kept"
        if not reasons:
            return "failed" if unit[0] in self.references.reasons else "pending"
        if SUPERSEDED in reasons:  # the statuses of such a dataset are not recomputed
            return None
        if len(reasons) < self.max_attempts and self.tally.shown[unit] not in self.given_up:
            return "pending"
        return "failed" if all(reason == CRASHED for reason in reasons) else "exhausted"

    def count(self, row_ids: Collection[str], copies: int) -> Counter[str] | None:
        """Return the number of units of some rows by status; None if a status does not follow from the attempts.

        All units of a row without an attempt have the same status, so they are counted together. The time then does not
        depend on the number of copies.
        """
        rows = frozenset(row_ids)
        with_attempts = [unit for unit in self.tally.reasons if unit[0] in rows and 0 <= unit[1] < copies]
        statuses = [self.of(unit) for unit in with_attempts]
        if None in statuses:
            return None
        counted = Counter(map(str, statuses))
        others = Counter(unit[0] for unit in with_attempts)
        for row_id in rows:
            counted[str(self.of((row_id, -1)))] += copies - others[row_id]
        return counted


def count_faults(statuses: Mapping[str, int], counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a fault and its place for each count of diffcore.json that differs from the recomputed statuses."""
    return [
        (f"diffcore.json counts {counts[name]} {name} units", f"the attempts give {statuses.get(name, 0)}")
        for name in ("kept", "exhausted", "failed", "pending")
        if counts[name] != statuses.get(name, 0)
    ]
