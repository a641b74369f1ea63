"""The device of an overhead cell: its clock, its largest memory and its name."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def clock_of(device: Any, threads: int, workers: int) -> Callable[[], float]:
    """Returns the clock of a measurement.

    On one CPU thread this is the CPU time of the process, which depends less on other processes than the elapsed time.
    On a GPU, the clock waits until the device has finished.
    """
    import torch

    if device.type == "cpu" and threads == 1 and workers == 0:
        return time.process_time
    if device.type != "cuda":
        return time.perf_counter

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def peak_bytes(device: Any) -> int:
    """Returns the largest memory so far: of this process, or of the tensors on a GPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device: Any) -> str:
    """Returns the name of a GPU, or the architecture of the processor."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
