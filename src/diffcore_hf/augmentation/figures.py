"""Figures: the latest state of a run that a worker computed, in one small file for `diffcore-hf status`.

Owns this file. Each worker writes it from the facts that it has read, so the newest file is correct for almost all
parts. The file is a hint, like the notes of the workers: no decision depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from diffcore_hf.core.folder import write_hint
from diffcore_hf.core.own_files import read_own_json

FILE = "figures.json"
"""Name of the file in `.diffcore`."""
WRITE_SECONDS = 2.0
"""Shortest time between two writes."""


@dataclass(frozen=True)
class RoundFigures:
    """The attempts of one round."""

    done: int
    due: int
    """Number of attempts that are missing now. Later rejections can make more attempts of a later round due."""
    kept: int


@dataclass(frozen=True)
class Figures:
    """The state of a run in numbers."""

    planned: int
    """Number of planned units."""
    kept: int
    exhausted: int
    failed: int
    """Number of units whose real image cannot be read."""
    rounds: tuple[RoundFigures, ...]
    """Rounds 0, 1, ..., as many as a unit can have attempts (`max_attempts`)."""
    references_done: int = 0
    references_due: int = 0
    """Number of real images whose embedding is missing."""
    limited: int = 0
    """Number of planned units that the limit of the run leaves out."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Number of attempts by reason."""

    @property
    def pending(self) -> int:
        """Number of units whose attempts are not finished."""
        return self.planned - self.kept - self.exhausted - self.failed

    @property
    def kept_share(self) -> float | None:
        """Share of the attempts that were kept, in [0, 1]; None without attempts."""
        done = sum(each.done for each in self.rounds)
        return self.kept / done if done else None

    def expected_attempts(self) -> float:
        """Return the expected number of attempts until no unit is pending, if the share of kept attempts does not
        change."""
        rejected = 1 - (self.kept_share or 0)
        expected, open_units = 0.0, 0.0
        for each in self.rounds:
            open_units += each.due
            expected += open_units
            open_units *= rejected
        return expected


def read_figures(private: Path) -> Figures | None:
    """Return the figures of a run; None if no worker wrote them, or if the file cannot be read.

    Args:
        private: folder `.diffcore` of the output folder.
    """
    try:
        content = read_own_json(private / FILE)
        rounds = tuple(RoundFigures(**{name: int(entry[name]) for name in entry}) for entry in content.pop("rounds"))
        reasons = {str(reason): int(count) for reason, count in content.pop("reasons").items()}
        return Figures(rounds=rounds, reasons=reasons, **{name: int(value) for name, value in content.items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


@dataclass
class FiguresFile:
    """Writes the figures of a run at most every WRITE_SECONDS.

    Args:
        private: folder `.diffcore` of the output folder.
        clock: returns seconds of this machine.
    """

    private: Path
    clock: Callable[[], float] = time.monotonic
    _written: float = -WRITE_SECONDS

    def write(self, figures: Callable[[], Figures], *, now: bool = False) -> None:
        """Write the figures, unless they were written a short time ago.

        Args:
            figures: returns the figures.
            now: write in any case.
        """
        if not now and self.clock() - self._written < WRITE_SECONDS:
            return
        self._written = self.clock()
        write_hint(self.private / FILE, asdict(figures()))
