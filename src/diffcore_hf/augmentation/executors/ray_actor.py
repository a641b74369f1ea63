"""Ray actor: the worker process on a node of a Ray cluster.

Owns what runs on the nodes. The actors are started and watched by ray_workers.py.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from diffcore_hf.augmentation.executors.started_worker import WorkOrder, work_on


class RayWorker:
    """Class of the actor. Its process is the worker. Ray runs its methods in the main thread, so signals work."""

    def check(self, probe: str, version: str, seconds: float) -> tuple[int, str]:
        """Return the id of this process, and the reason why it cannot work; "" if there is none.

        Args:
            probe: a new file in the folder `.diffcore` of the output folder.
            version: version of this package where the run was started.
            seconds: longest time until the file is visible.
        """
        if package_version() != version:
            fault = f"has diffcore-hf {package_version()}, but the run was started with {version}"
            return os.getpid(), f"{fault}. Install the same version there"
        if not _is_visible(Path(probe), seconds):
            return os.getpid(), (
                f"does not see {Path(probe).parents[1]}. Use an --output that all nodes have at the same path"
            )
        return os.getpid(), ""

    def work(self, order: WorkOrder, directory: str, threads: int) -> None:
        """Work on a run until nothing is due.

        Args:
            order: the values of the run.
            directory: folder to which relative paths in the recipe refer.
            threads: number of threads of this process.

        Raises:
            UserError: an input is not valid. The note of this worker contains the message.
        """
        with suppress(OSError):
            os.chdir(directory)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(threads)
        work_on(order)


def package_version() -> str:
    """Return the version of this package, without importing the package by its name."""
    return str(sys.modules[__name__.partition(".")[0]].__version__)


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process of this node, if it runs."""
    with suppress(OSError):
        os.kill(pid, number)


def _is_visible(path: Path, seconds: float) -> bool:
    """Return whether a file exists. A shared disk can show a new file some seconds later."""
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() >= end:
            return False
        time.sleep(0.2)
    return True
