"""Worker notes: small files in which each worker of a run writes what it computes now, for the other workers.

Owns these files and the rule that decides whether a worker still works. A note is a hint: other workers do not compute
the part that it names, and `status` shows it. No fact depends on a note. If all notes are deleted, the result is the
same.

A worker is alive if the counter in its note changes between two readings by the same process. Times of other machines
are never compared, because their clocks may differ.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from diffcore_hf.augmentation.share import Share
from diffcore_hf.core.folder import write_hint
from diffcore_hf.core.leftovers import is_running, this_host
from diffcore_hf.core.own_files import read_own_json

FOLDER = "workers"
"""Name of the folder of the notes below `.diffcore`."""
WRITE_SECONDS = 1.0
"""Shortest time between two writes that only change the counter."""
SHORTEST_BOUND = 2.0
"""Shortest time in seconds without a change of its counter after which a worker counts as dead."""
UNKNOWN_BOUND = 180.0
"""The same time if no duration of a part is known."""
_CLOSED: set[str] = set()
"""Names of the note files of ended runs of this process. If such a file still exists, it is ignored."""


@dataclass(frozen=True)
class WorkerNote:
    """The note of a worker: the part that it computes now, and its progress."""

    worker: str
    """Share of the worker, such as `0/2`."""
    host: str
    """Name of the machine, see `leftovers.this_host`."""
    pid: int
    plan: str = ""
    """Digest of the plan to which the positions in `items` belong."""
    counter: int = 0
    """Increases with every device batch, and when the worker starts another part."""
    images: int = 0
    """Number of images that the worker made since it started."""
    kind: str = ""
    """Kind of the part that is computed now (`ref`, `r0`, ...); "" if the worker computes no part."""
    items: tuple[int, ...] = ()
    """Positions of the units or rows of this part in the plan."""
    seconds: float = 0.0
    """Time of the last finished part; 0 if there is none."""
    elapsed: float = 0.0
    """Seconds from the start of the first part of this worker to its last image, by its own clock."""
    error: str = ""
    """The last error of the worker as one line; "" if there is none."""


def read_notes(private: Path) -> dict[str, WorkerNote]:
    """Return the readable notes of a run by file name.

    Args:
        private: folder `.diffcore` of the output folder.
    """
    notes = {}
    for path in sorted((private / FOLDER).glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            notes[path.name] = _parse(read_own_json(path))
    return notes


def _parse(content: Mapping[str, Any]) -> WorkerNote:
    known = {entry.name for entry in fields(WorkerNote)}
    note = WorkerNote(**{name: value for name, value in content.items() if name in known})
    texts = (note.worker, note.host, note.plan, note.kind, note.error)
    if not isinstance(note.items, list) or not isinstance(note.pid, int) or not all(isinstance(x, str) for x in texts):
        raise ValueError("not a note")
    items, numbers = tuple(map(int, note.items)), {"counter": int(note.counter), "images": int(note.images)}
    times = {"seconds": float(note.seconds), "elapsed": float(note.elapsed)}
    return replace(note, items=items, **numbers, **times)


def is_gone(note: WorkerNote) -> bool:
    """Return whether the process of a note is known to have ended. Only processes of this machine are known."""
    return note.host == this_host() and not is_running(note.pid)


@dataclass
class _Seen:
    """The note of another worker, as this process last read it."""

    note: WorkerNote
    since: float
    """Time of this process at which the counter changed."""


@dataclass
class WorkerNotes:
    """The note of this worker, and the notes of the other workers.

    Args:
        private: folder `.diffcore` of the output folder.
        share: share of this worker.
        plan: digest of the plan. Claims in notes of another plan are ignored.
        clock: returns seconds of this machine.
    """

    private: Path
    share: Share
    plan: str
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _written: float = -WRITE_SECONDS
    _started: float | None = None

    def __post_init__(self) -> None:
        self.note = WorkerNote(str(self.share), this_host(), os.getpid(), self.plan)
        name = f"{self.share.index}-of-{self.share.count}.{this_host()}.{os.getpid()}-{secrets.token_hex(4)}.json"
        self.path = self.private / FOLDER / name

    def start(self) -> None:
        """Write the note of this worker, and remove the notes of earlier processes of the same worker."""
        for name, note in read_notes(self.private).items():
            replaced = self.share.count > 1 and note.worker == self.note.worker
            if replaced or (is_gone(note) and not note.items):
                with suppress(OSError):
                    (self.private / FOLDER / name).unlink()
        self._write()

    def claim(self, kind: str, items: Sequence[int]) -> None:
        """Write the positions that this worker computes now into its note."""
        if kind and self._started is None:
            self._started = self.clock()
        self.note = replace(self.note, kind=kind, items=tuple(items), counter=self.note.counter + 1)
        self._write()

    def finished(self, seconds: float) -> None:
        """Record the time of a finished part."""
        self.note = replace(self.note, seconds=seconds)

    def add(self, images: int) -> None:
        """Record that `images` more images are finished."""
        elapsed = 0.0 if self._started is None else self.clock() - self._started
        self.note = replace(self.note, images=self.note.images + images, elapsed=elapsed, counter=self.note.counter + 1)
        if self.clock() - self._written >= WRITE_SECONDS:
            self._write()

    def failed(self, error: str) -> None:
        """Record an error. The note stays, so that a person can read it."""
        self.note = replace(self.note, error=" ".join(error.split()), items=(), kind="")
        self._write()

    def close(self) -> None:
        """Remove the note of this worker, unless it contains an error.

        The note also stays if the disk failed. The next run of this process then ignores it.
        """
        _CLOSED.add(self.path.name)
        if not self.note.error:
            with suppress(OSError):
                self.path.unlink()

    def claimed(self, kind: str) -> set[int]:
        """Return the positions that other workers compute now, if these workers are alive."""
        self._look()
        return {
            item
            for seen in self._alive()
            if seen.note.kind == kind and seen.note.plan == self.plan
            for item in seen.note.items
        }

    def peers(self) -> int:
        """Return the number of workers in the share. If more workers are alive, return the number of these."""
        return max(self.share.count, 1 + sum(1 for _ in self._alive()))

    def _alive(self) -> Iterator[_Seen]:
        now = self.clock()
        for name, seen in self._seen.items():
            if name in _CLOSED:
                continue
            if now - seen.since < self._bound(seen.note) and not is_gone(seen.note):
                yield seen

    def _bound(self, note: WorkerNote) -> float:
        """Return the time in seconds without a change of the counter after which a worker counts as dead."""
        usual = max(self.note.seconds, note.seconds)
        return max(SHORTEST_BOUND, 3 * usual) if usual else UNKNOWN_BOUND

    def _look(self) -> None:
        """Read the notes of the other workers."""
        notes = read_notes(self.private)
        notes.pop(self.path.name, None)
        for name, note in notes.items():
            seen = self._seen.get(name)
            if seen is None or seen.note.counter != note.counter:
                self._seen[name] = _Seen(note, self.clock())
            else:
                seen.note = note
        self._seen = {name: seen for name, seen in self._seen.items() if name in notes}

    def _write(self) -> None:
        """Write the note."""
        self._written = self.clock()
        write_hint(self.path, asdict(self.note))
