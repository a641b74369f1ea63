"""Findings: collects faults, one line for each kind however often it occurs."""

from __future__ import annotations

from collections import Counter


class Findings:
    """The first example and the number of each kind of fault."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def add(self, kind: str, where: str) -> None:
        """Add a fault, e.g. `("attempts: the seed is not ...", "a1b2 copy 0 attempt 1")`."""
        self._first.setdefault(kind, where)
        self._count[kind] += 1

    def lines(self) -> list[str]:
        """Return one line for each kind, in the order in which the kinds first occurred."""
        lines = []
        for kind, where in self._first.items():
            more = self._count[kind] - 1
            lines.append(f"{kind}: {where} and {more:,} more" if more else f"{kind}: {where}")
        return lines
