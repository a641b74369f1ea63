"""Crashes: the rows that a process was computing when it ended without a report.

Owns these records, and the rule for such rows. Each process writes the rows of its device batch into a small file
before it computes them, and removes the file after the part. If the process ends before that, another process moves the
file to the records of crashes.

A row of a recorded batch is computed alone, in a part of its own, after all other rows. If a process ends three times
while it computes the row alone, the row is suspended: it is not tried again and stays pending. A process can also be
ended from outside, so a crash does not become a fact. Only `augment --crash-suspended` records it as a fact.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from diffcore_hf.core import leftovers
from diffcore_hf.core.folder import write_hint
from diffcore_hf.core.own_files import read_own_json
from diffcore_hf.core.schema import UnitKey

BATCHES, CRASHES = "batches", "crashes"
"""Names of two folders below `.diffcore`: the folder of the batch files, and the folder of the records of crashes."""
SUSPENDED_AFTER = 3
"""A row is suspended after it ended this number of processes while it was computed alone."""
LONGEST_REST = 600.0
"""A process of another machine counts as ended if its batch file is unchanged for this time in seconds."""
NAMED = 5
"""Largest number of suspended rows whose names the note of a run gives."""

Item = tuple[str, UnitKey]
"""Kind of a part (`ref`, `r0`, ...), and key of a unit. The key of a real image is (row id, 0)."""


class CurrentBatch:
    """The file with the rows that this process computes now.

    Args:
        private: folder `.diffcore` of the output folder.
    """

    def __init__(self, private: Path):
        name = leftovers.temporary_name(private / BATCHES / "batch").name
        self._path = private / BATCHES / name.removeprefix(".").replace(".tmp", ".json")

    def record(self, kind: str, keys: Iterable[UnitKey]) -> None:
        """Record the rows of a device batch. A fault of the disk is ignored, and the rows are then not recorded."""
        write_hint(self._path, {"kind": kind, "keys": list(keys)})

    def clear(self) -> None:
        """Record that this process computes nothing."""
        with suppress(OSError):
            self._path.unlink()


@dataclass(frozen=True)
class Suspects:
    """The rows that a process was computing when it ended."""

    alone: frozenset[Item] = frozenset()
    """Items that are computed alone."""
    suspended: frozenset[Item] = frozenset()
    """Items that are not computed again."""


def read_suspects(private: Path) -> Suspects:
    """Return the suspects from the records of crashes. A record that cannot be read is ignored.

    Args:
        private: folder `.diffcore` of the output folder.
    """
    together: set[Item] = set()
    alone: Counter[Item] = Counter()
    for path in sorted((private / CRASHES).glob("*.json")):
        items = _items(path)
        together.update(items)
        if len(items) == 1:
            alone.update(items)
    suspended = frozenset(item for item, count in alone.items() if count >= SUSPENDED_AFTER)
    return Suspects(frozenset(together) - suspended, suspended)


def forget(private: Path, items: Iterable[Item]) -> None:
    """Remove the records of single rows, after their crashes became facts."""
    removed = set(items)
    for path in (private / CRASHES).glob("*.json"):
        found = _items(path)
        if len(found) == 1 and removed.issuperset(found):
            leftovers.remove(path)


def note_on(suspended: Iterable[Item]) -> str | None:
    """Return the note about suspended rows for the report of a run; None if there is none."""
    rows = sorted({key[0] for _, key in suspended})
    if not rows:
        return None
    names = ", ".join(rows[:NAMED]) + (f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else "")
    return (
        f"{len(rows):,} rows are suspended, because each of them ended its process {SUSPENDED_AFTER} times when it was "
        f"computed alone: {names}. To record their attempts as crashed, use --crash-suspended"
    )


def _items(path: Path) -> list[Item]:
    try:
        content = read_own_json(path)
        return [(str(content["kind"]), (str(row_id), int(copy))) for row_id, copy in content["keys"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


@dataclass
class CrashWatch:
    """Finds the batch files of processes that have ended, and returns the rows in them as suspects.

    Args:
        private: folder `.diffcore` of the output folder.
        clock: returns seconds of this machine.
    """

    private: Path
    clock: Callable[[], float] = time.monotonic
    suspects: Suspects = Suspects()
    _seen: dict[str, tuple[tuple[int, int], float]] = field(default_factory=dict)
    """Name of a batch file -> its version, and the time of this machine at which it was first read."""
    _known: int = -1

    def look(self) -> Suspects:
        """Record the crashes of processes that have ended since the last call, and return the suspects."""
        for path in self._batch_files():
            if self._has_ended(path):
                with suppress(OSError):
                    (self.private / CRASHES).mkdir(exist_ok=True)
                    # The time in the name distinguishes several crashes whose batch files had the same name.
                    os.replace(path, self.private / CRASHES / f"{path.stem}-{os.stat(path).st_mtime_ns:x}.json")
        if (count := sum(1 for _ in (self.private / CRASHES).glob("*.json"))) != self._known:
            self._known, self.suspects = count, read_suspects(self.private)
        return self.suspects

    def _batch_files(self) -> Sequence[Path]:
        return sorted((self.private / BATCHES).glob("*.json"))

    def _has_ended(self, path: Path) -> bool:
        """Return whether the process that wrote a batch file has ended.

        The operating system of this machine knows its own processes. A process of another machine counts as ended if
        its batch file does not change for LONGEST_REST seconds, measured by the clock of this machine.
        """
        if leftovers.is_leftover(f".{path.stem}.tmp"):
            return True
        with suppress(OSError):
            found = os.stat(path)
            version = found.st_mtime_ns, found.st_ino
            seen, since = self._seen.get(path.name, (None, 0.0))
            if seen != version:
                self._seen[path.name] = version, self.clock()
            elif self.clock() - since > LONGEST_REST and not leftovers.is_of_this_host(f".{path.stem}.tmp"):
                return True
        return False
