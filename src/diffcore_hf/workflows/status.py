"""Shows the state of a run, also while it runs, on any machine that can read its folder. Loads no model and no source.

Owns the text. The figures and the notes are small files that the workers write (augmentation/figures.py,
augmentation/worker_notes.py). A worker counts as working if the counter in its note changed between two readings.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.augmentation.crashes import note_on, read_suspects
from diffcore_hf.augmentation.figures import Figures, RoundFigures, read_figures
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.worker_notes import WorkerNote, is_gone, read_notes
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.terminal_text import visible

WAIT = 2.0
"""Seconds between two readings of the folder."""


@dataclass(frozen=True)
class Look:
    """The small files of a run, as one call of `look` read them."""

    folder: Folder
    figures: Figures | None
    """None: no worker has written figures yet."""
    notes: Mapping[str, WorkerNote]
    """File name -> note of each worker."""
    attempts: int | None
    """Number of attempts in the parts; None: they were not counted, because there are figures."""
    exported: Mapping[str, Any] | None
    """The counts of the published files; None if nothing was exported."""


def look(out: str | Path) -> Look:
    """Read the small files of a run.

    Raises:
        UserError: this is not the folder of a run.
    """
    folder = Folder(out)
    folder.existing_run(with_parts=False)
    figures = read_figures(folder.private)
    attempts = Ledger(folder.parts).count() if figures is None else None
    manifest = folder.manifest()
    return Look(folder, figures, read_notes(folder.private), attempts, manifest.get("counts") if manifest else None)


def text(current: Look, earlier: Look | None) -> str:
    """Return the state of a run as lines.

    Args:
        current: the newest reading.
        earlier: the reading before it, with which the counters of the workers are compared; None for the first one.
    """
    rates = {name: rate(note) for name, note in current.notes.items()}
    moving = [name for name, note in current.notes.items() if activity(note, _earlier(name, earlier)) == WORKING]
    speed = sum(rates[name] or 0.0 for name in moving)
    lines = [f"{current.folder.path}: {_state(current, moving, earlier)}"]
    lines += _figure_lines(current, speed)
    for name, note in current.notes.items():
        lines.append(_worker_line(note, activity(note, _earlier(name, earlier)), rates[name]))
        if note.error:
            lines.append(f"  last error: {note.error}")
    if suspended := note_on(read_suspects(current.folder.private).suspended):
        lines.append(f"note: {suspended}")
    return "\n".join(map(visible, lines))


def looks(out: str | Path, *, watch: bool, wait: float = WAIT) -> Iterator[str]:
    """Yield the state of a run. If the run has workers, it is read twice, so that working ones are recognised.

    Args:
        out: the folder of a run.
        watch: continue until the run is finished.
        wait: seconds between two readings.

    Raises:
        UserError: this is not the folder of a run.
    """
    earlier, current = None, look(out)
    if watch or all(note.error for note in current.notes.values()):
        yield text(current, None)
    while watch or earlier is None:
        if is_finished(current) or (not watch and all(note.error for note in current.notes.values())):
            return
        time.sleep(wait)
        earlier, current = current, look(out)
        yield text(current, earlier)


def is_finished(current: Look) -> bool:
    """Return whether no attempt is missing and no worker is left, so that a later reading would be the same."""
    return not current.notes and current.figures is not None and _missing(current.figures) == 0


WORKING, RESTING, ENDED = "works", "no change between two readings", "ended without a report"


def activity(note: WorkerNote, earlier: WorkerNote | None) -> str:
    """Return the activity of a worker between two readings. Clocks of other machines are not used.

    Args:
        note: the note of the worker in the newest reading.
        earlier: its note in the reading before; None if there was none.
    """
    if note.error:
        return "stopped by an error"
    if is_gone(note):
        return ENDED
    if earlier is None:
        return "seen for the first time"
    return WORKING if note.counter != earlier.counter else RESTING


def rate(note: WorkerNote) -> float | None:
    """Return the images a second of a worker by its own clock; None if it has finished no image."""
    return note.images / note.elapsed if note.images and note.elapsed > 0 else None


def _earlier(name: str, look: Look | None) -> WorkerNote | None:
    return look.notes.get(name) if look is not None else None


def _missing(figures: Figures) -> int:
    return figures.references_due + sum(each.due for each in figures.rounds)


def _state(current: Look, moving: list[str], earlier: Look | None) -> str:
    """Return the state of the whole run in a few words."""
    if moving:
        return f"{len(moving)} of {len(current.notes)} workers work"
    left = [note for note in current.notes.values() if not note.error and not is_gone(note)]
    if left and earlier is None:
        return f"{len(left)} workers have a note"
    if left:
        return "no worker has written anything between two readings"
    if current.figures is not None and _missing(current.figures) == 0 and current.figures.rounds:
        return "no attempt is missing" + ("" if current.exported else ", not exported yet")
    return "no worker is left"


def _figure_lines(current: Look, speed: float) -> list[str]:
    """Return the lines about rows and rounds."""
    figures = current.figures
    if figures is None:
        counts = _counts_text(current.exported) if current.exported else "the units are counted when a worker starts"
        return [f"attempts    {current.attempts or 0:,}", f"rows        {counts}"]
    lines = []
    if figures.references_due:
        total = figures.references_done + figures.references_due
        lines.append(f"real images {figures.references_done:,} of {total:,}")
    for number, each in enumerate(figures.rounds):
        if each.done or each.due:
            lines.append(f"round {number:<5} {_round_text(each)}")
    statuses = {name: getattr(figures, name) for name in ("planned", "kept", "exhausted", "failed", "pending")}
    lines.append(f"rows        {_counts_text(statuses)}")
    if figures.limited:
        lines.append(f"limit       {figures.limited:,} of the planned units are left out by --limit")
    if figures.kept_share is not None:
        rejected = {name: count for name, count in figures.reasons.items() if name != "kept"}
        reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(rejected.items(), key=lambda item: -item[1]))
        share = f"kept rate   {100 * figures.kept_share:.1f} % of the attempts"
        lines.append(f"{share}; rejected: {reasons}" if reasons else share)
    if speed:
        expected = figures.references_due + figures.expected_attempts()
        lines.append(f"speed       {speed:.2f} images a second")
        lines.append(f"time left   about {duration(expected / speed)}, for about {expected:,.0f} images")
    return lines


def _round_text(each: RoundFigures) -> str:
    kept = f", {each.kept:,} kept ({100 * each.kept / each.done:.1f} %)" if each.done else ""
    return f"{each.done:,} of {each.done + each.due:,} attempts{kept}"


def _counts_text(counts: Mapping[str, Any]) -> str:
    names = ("kept", "exhausted", "failed", "pending")
    return f"{counts['planned']:,} planned: " + ", ".join(f"{counts[name]:,} {name}" for name in names)


def _worker_line(note: WorkerNote, state: str, images_a_second: float | None) -> str:
    """Return the line of one worker: its share, its process, what it does and how fast it is."""
    speed = "no image yet" if images_a_second is None else f"{images_a_second:.2f} images a second"
    part = f", {note.kind}: {len(note.items):,} in the current part" if note.kind else ""
    return f"worker {note.worker} (process {note.pid} on {note.host.partition('.')[0]}): {state}, {speed}{part}"


def duration(seconds: float) -> str:
    """Return a time as text in one or two units, such as `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours == 0:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
