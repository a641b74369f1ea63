"""Started worker: the work of a process that another process of the same run has started.

Owns the values that such a process gets, and the steps from these values to the end of its work. The process is a
worker like any other (rounds.py): it reads the output folder and gets no tasks. Does not start processes
(processes.py, ray_workers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from signal import SIGTERM

from diffcore_hf.augmentation.executors.local import LocalExecutor
from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.preparations import Preparation, words_in
from diffcore_hf.augmentation.resolution import Resolution
from diffcore_hf.augmentation.review import Review
from diffcore_hf.augmentation.rounds import collect
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.tasks import CommittedPart, OnProgress, Task
from diffcore_hf.augmentation.worker_notes import WorkerNotes
from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder

PART_OF_GRACE = 0.7
"""Share of the time after a signal within which a started worker must end.

In the remaining time, the process that started it exports.
"""


@dataclass(frozen=True)
class WorkOrder:
    """The values from which a started worker opens the run. They can be pickled."""

    output: str
    resolution: Resolution
    review: Review
    preparation: Preparation | None
    share: Share
    grace: float
    """Seconds from a signal to the end of the run."""

    @classmethod
    def of(cls, run: Run, share: Share, grace: float) -> WorkOrder:
        """Return the order for the worker with a share of a run."""
        output = str(run.folder.path.absolute())
        return cls(output, run.resolution, run.review, run.preparation, share, grace)


def work_on(order: WorkOrder, may_continue: Callable[[], bool] = lambda: True) -> None:
    """Work on a run until nothing is due. It ends early after a signal or if `may_continue` returns false.

    Args:
        order: the values of the run.
        may_continue: function that is called after each part.

    Raises:
        UserError: an input is not valid. The note of this worker contains the message.
    """
    with signals.handled(PART_OF_GRACE * order.grace):
        try:
            run = _opened(order)
            collect(run, _StartedExecutor(run, may_continue), share=order.share, progress=False)
        except signals.Stopped:
            return


class _StartedExecutor(LocalExecutor):
    """Computes parts in this process until `may_continue` returns false."""

    def __init__(self, run: Run, may_continue: Callable[[], bool]):
        super().__init__(run)
        self._may_continue = may_continue

    def run(self, tasks: Iterable[Task], on_progress: OnProgress) -> Iterator[CommittedPart]:
        for part in super().run(tasks, on_progress):
            yield part
            if not self._may_continue():
                raise signals.Stopped(int(SIGTERM))


def _opened(order: WorkOrder) -> Run:
    """Open the source of a run and return the run.

    Raises:
        UserError: the source cannot be opened, or it changed after the run had started.
    """
    recipe, folder = order.resolution.recipe, Folder(order.output)
    try:
        with signals.interruptible(signals.PREPARATION):
            source = load_source(recipe.source, folder=folder, prefix=recipe.columns.prefix)
            if source.identity != order.resolution.identities["source"]:
                raise UserError(
                    f"source {recipe.source.path} was changed while the run was working. Run the same command again: "
                    "it continues with the changed source"
                )
            plan = make_plan(source, recipe, words_in(order.preparation))
    except Exception as error:
        # The process that started this one reads the error in the note.
        WorkerNotes(folder.private, order.share, order.resolution.recipe_digest).failed(str(error))
        raise
    return Run(source, plan, folder, order.resolution, order.review, preparation=order.preparation, repairs=True)
