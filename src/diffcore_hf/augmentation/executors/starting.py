"""Starting: the option --workers, and the choice between processes of this machine and a Ray cluster."""

from __future__ import annotations

from diffcore_hf.augmentation.executors.processes import collect_with_processes, number_of_processes
from diffcore_hf.augmentation.executors.ray_cluster import RAY, RayCluster
from diffcore_hf.augmentation.executors.ray_workers import collect_with_ray
from diffcore_hf.augmentation.rounds import Collected
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.share import Share
from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError

Workers = int | RayCluster
"""Number of processes to start on this machine, or the cluster whose nodes get the workers."""


def workers_of(text: str | None, address: str | None = None) -> Workers | None:
    """Return the workers that the options --workers and --address name; None if this process does the work.

    Raises:
        UserError: an option has no valid value, or only --address is given.
    """
    if address is not None and text != RAY:
        raise UserError(f"--address {address} is used only with --workers ray. Add --workers ray, or leave it out")
    if text is None:
        return None
    return RayCluster(address) if text == RAY else number_of_processes(text)


def collect_with(
    run: Run, share: Share, workers: Workers, *, grace: float = signals.GRACE, progress: bool = True
) -> Collected:
    """Compute all facts that are due in other processes; see `collect_with_processes` and `collect_with_ray`."""
    if isinstance(workers, RayCluster):
        return collect_with_ray(run, share, workers, grace=grace, progress=progress)
    return collect_with_processes(run, share, workers, grace=grace, progress=progress)


def check_workers(run: Run, workers: Workers) -> None:
    """Check what the workers need, before anything is written.

    Raises:
        UserError: other processes cannot open the source, or the cluster cannot be used.
    """
    if isinstance(workers, RayCluster):
        run.require_source_on_disk(f"--workers {RAY}")
        workers.check()
    else:
        run.require_source_on_disk(f"--workers {workers}")
