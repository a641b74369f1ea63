"""The interface of an executor: tasks in, committed parts out.

What is due, how it is divided, what is decided and what the progress bar shows does not depend on the executor. A task
can be pickled: `worker.compute_part(output, recipe, task)` computes it in any process that sees the output folder, the
models and the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from diffcore_hf.augmentation.tasks import CommittedPart, OnProgress, Task


class Executor(Protocol):
    """Computes tasks, in this process or elsewhere."""

    def batch_size(self, task: type[Task]) -> int:
        """Return the size of the first part of a type of task: a device batch, as far as it is known."""
        ...

    def run(self, tasks: Iterable[Task], on_progress: OnProgress) -> Iterator[CommittedPart]:
        """Compute all tasks and yield each part as soon as it is committed, in any order.

        Args:
            tasks: taken one at a time, when there is a free worker: the size of later tasks follows from the seconds
                of the parts that were yielded before.
            on_progress: called with numbers of images. When a part is yielded, all its images have been reported.

        Raises:
            UserError: a model that cannot work at all; parts that were committed stay.
        """
        ...

    def close(self) -> None:
        """Stop the workers. Tasks that are not finished are lost, and due again in the next run."""
        ...
