"""The executor of one process: computes parts one after the other, where the run was started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.tasks import CommittedPart, OnProgress, Task
from diffcore_hf.augmentation.worker import Worker


class LocalExecutor:
    """Computes parts in this process, with the source that the run has open; it may be a dataset in memory."""

    def __init__(self, run: Run):
        self._worker = Worker(run.source, run.plan, run.recipe, run.ledger)

    def batch_size(self, task: type[Task]) -> int:
        return self._worker.batch_size(task)

    def run(self, tasks: Iterable[Task], on_progress: OnProgress) -> Iterator[CommittedPart]:
        for task in tasks:
            yield self._worker.compute(task, on_progress)

    def close(self) -> None:
        """Nothing to stop: the models are freed with this object."""
