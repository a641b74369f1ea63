"""Findings: what does not fit, one line for each kind however often it occurs."""

from __future__ import annotations

from collections import Counter


class Findings:
    """The first example of each kind, and how many there are."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def add(self, kind: str, where: str) -> None:
        """One more of a kind, e.g. `("attempts: the seed is not ...", "a1b2 copy 0 attempt 1")`."""
        self._first.setdefault(kind, where)
        self._count[kind] += 1

    def lines(self) -> list[str]:
        """For people, in the order in which kinds were found first."""
        return [
            f"{kind}: {where}" + (f" and {self._count[kind] - 1:,} more" if self._count[kind] > 1 else "")
            for kind, where in self._first.items()
        ]
