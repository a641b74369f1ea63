"""Team: what a process that starts workers reads in the output folder about them, and the result of their work.

Owns the progress bar of such a process and the rules after the workers have ended. Does not start, restart or end
workers (processes.py, ray_workers.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from diffcore_hf.augmentation.crashes import read_suspects
from diffcore_hf.augmentation.decisions import Decider, read_facts
from diffcore_hf.augmentation.early_stop import stop_message
from diffcore_hf.augmentation.figures import read_figures
from diffcore_hf.augmentation.progress import Progress
from diffcore_hf.augmentation.reasons import progress_text
from diffcore_hf.augmentation.rounds import Collected
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.work import first_attempts, rows_to_embed
from diffcore_hf.augmentation.worker_notes import FOLDER, WorkerNote, read_notes
from diffcore_hf.core import leftovers
from diffcore_hf.core.errors import UserError

RESTARTS = 10
"""Largest number of times that a worker is started again although it finished nothing since its first death."""


class TeamNotes:
    """The notes of the workers that this process has started.

    Args:
        run: the run.
    """

    def __init__(self, run: Run):
        self.run = run
        self._before = frozenset(read_notes(run.folder.private))
        self._images: dict[str, tuple[str, int]] = {}
        """Name of a note -> share of the worker, and largest number of images in the note."""

    def read(self) -> None:
        """Read the notes again."""
        for name, note in self._notes().items():
            _, known = self._images.get(name, ("", 0))
            self._images[name] = note.worker, max(note.images, known)

    def images(self, share: Share | None = None) -> int:
        """Return the number of images in the notes that were read last.

        Args:
            share: share of one worker; None: all workers.
        """
        return sum(count for worker, count in self._images.values() if share is None or worker == str(share))

    def failed(self) -> WorkerNote | None:
        """Return the note of a worker that ended with an error; None if there is none."""
        return next((note for note in self._notes().values() if note.error), None)

    def remove(self) -> None:
        """Remove the notes of killed workers, after all workers have ended. Notes with an error stay."""
        for name, note in self._notes().items():
            if not note.error:
                leftovers.remove(self.run.folder.private / FOLDER / name)

    def _notes(self) -> dict[str, WorkerNote]:
        notes = read_notes(self.run.folder.private)
        return {name: note for name, note in notes.items() if name not in self._before}


@dataclass
class Deaths:
    """The number of times that a worker died since its last progress. An image or a suspended row is progress.

    A row that ends its process is suspended after several deaths, so a high number of deaths can be normal.

    Args:
        notes: the notes of all workers.
        share: share of the worker.
    """

    notes: TeamNotes
    share: Share
    count: int = 0
    _progress: tuple[int, int] = (0, 0)

    def add(self) -> bool:
        """Count a death, and return whether the worker may be started again."""
        self.notes.read()
        suspended = read_suspects(self.notes.run.folder.private).suspended
        progress = self.notes.images(self.share), len(suspended)
        self.count = 1 + (self.count if progress == self._progress else 0)
        self._progress = progress
        return self.count <= RESTARTS


def show_progress(bar: Progress, notes: TeamNotes, waiting: str = "") -> None:
    """Show the number of finished images and of those that are due, and words about the state of the run.

    Args:
        bar: the progress bar.
        notes: the notes of the workers.
        waiting: what the workers wait for; "" if each of them has started.
    """
    notes.read()
    bar.add(notes.images() - bar.added)
    figures = read_figures(notes.run.folder.private)
    if not notes.images():
        bar.describe(waiting or "models are being loaded")
    elif figures is None or not figures.rounds:
        bar.describe(waiting or "real images")
    else:
        bar.expect(sum(each.due for each in figures.rounds))
        bar.describe(waiting or progress_text(figures.reasons))


def expected(run: Run) -> int:
    """Return how many images are due: real images to embed, and first attempts."""
    wanted = run.plan.limited(run.recipe.limit)
    references, attempts = read_facts(run)
    done = first_attempts(run.plan, wanted, attempts)
    return len(rows_to_embed(run.plan, run.plan.rows[:wanted].tolist(), references)) + wanted - done


def result(run: Run, share: Share, notes: TeamNotes, remedy: str) -> Collected:
    """Return the facts of a run after all workers have ended.

    Args:
        run: the run.
        share: share of all workers together.
        notes: the notes of the workers.
        remedy: what the user can change if the workers died again and again.

    Raises:
        UserError: attempts are missing, because workers ended with an error or died.
    """
    notes.remove()
    decider = Decider.read(run)
    due = decider.due(run.plan.limited(run.recipe.limit))
    if not share.may_compute(due.positions).any():
        return Collected(decider)
    if message := stop_message(decider.decide()):
        return Collected(decider, stopped=message)
    if (failed := notes.failed()) is not None:
        raise UserError(f"worker {failed.worker}: {failed.error}")
    raise UserError(
        f"the workers of {run.folder.path} were killed more than {RESTARTS} times without a finished image. Finished "
        f"attempts are kept. {remedy}"
    )
