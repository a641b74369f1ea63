"""The interface of an executor, which takes tasks and yields committed parts.

The executor has no influence on the tasks, the decisions or the progress bar. A task can be pickled. The function
`worker.compute_part(output, recipe, task)` computes it in any process that can read the output folder, the models and
the source. Other processes cannot open a dataset in memory. So an executor that uses other processes calls
`Run.require_source_on_disk` in its constructor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from diffcore_hf.augmentation.tasks import CommittedPart, OnProgress, Task


class Executor(Protocol):
    """Computes tasks, in this process or elsewhere."""

    def batch_size(self, task: type[Task]) -> int:
        """Return the number of images per device batch for a type of task. The first part has this size."""
        ...

    def run(self, tasks: Iterable[Task], on_progress: OnProgress) -> Iterator[CommittedPart]:
        """Compute all tasks and yield each part as soon as it is committed, in any order.

        Args:
            tasks: the tasks. Take the next task only when a worker is free, because the size of a task is computed
                from the times of the parts that were yielded before.
            on_progress: called with the number of new images. Report all images of a part before you yield the part.

        Raises:
            UserError: a model fails on every image. Parts that are already committed are kept.
        """
        ...

    def close(self) -> None:
        """Stop the workers. Unfinished tasks are lost. The next run computes them again."""
        ...
