"""Findings: collects faults and describes each kind of fault in one line."""

from __future__ import annotations

from collections import Counter


class Findings:
    """Faults by kind: the first example of each kind and the number of faults."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def add(self, kind: str, where: str) -> None:
        """Add a fault, e.g. `("attempts: the seed does not ...", "a1b2 copy 0 attempt 1")`."""
        self._first.setdefault(kind, where)
        self._count[kind] += 1

    def lines(self) -> list[str]:
        """Return one line for each kind, in the order in which the kinds first occurred."""
        lines = []
        for kind, where in self._first.items():
            more = self._count[kind] - 1
            lines.append(f"{kind}: {where} and {more:,} more" if more else f"{kind}: {where}")
        return lines
