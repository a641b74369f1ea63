"""The executor that computes parts one after the other, in the process that started the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diffcore_hf.augmentation.marks import mark_of
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.tasks import CommittedPart, OnProgress, Task
from diffcore_hf.augmentation.worker import Worker


class LocalExecutor:
    """Computes parts in this process, with the source that the run has opened. The source may be in memory."""

    def __init__(self, run: Run):
        mark = mark_of(run.resolution)
        self._worker = Worker(run.source, run.plan, run.recipe, run.ledger, mark, run.preparation)

    def batch_size(self, task: type[Task]) -> int:
        return self._worker.batch_size(task)

    def run(self, tasks: Iterable[Task], on_progress: OnProgress) -> Iterator[CommittedPart]:
        for task in tasks:
            yield self._worker.compute(task, on_progress)

    def close(self) -> None:
        """Do nothing, because there are no other processes. The models are freed with this object."""
