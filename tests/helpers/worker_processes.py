"""Workers of one run in forked processes, for tests that kill them. A forked process does not import torch again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from tqdm.std import TqdmDefaultWriteLock, tqdm

from diffcore_hf.augmentation.share import Share
from diffcore_hf.generation.base import Samples, Strategy
from diffcore_hf.workflows import augment, pictures

POLICY = {"name": "rank", "by": "class_mean", "floor": "off"}
"""A policy that rejects some images of the strategy below, so that there are several rounds."""

SECONDS = float(os.environ.get("NOISE_SECONDS", "0"))
"""Seconds that the strategy waits for each image. It is no option of the strategy, so that it changes no digest."""


class Noise(Strategy):
    """Returns noise that depends on the seed. Each image takes SECONDS."""

    uses_model = False
    reads = ("seed", "label")

    def sample(self, batch):
        time.sleep(SECONDS * len(batch["seed"]))
        draws = [np.random.default_rng(seed) for seed in batch["seed"]]
        shape, noise = (3, 16, 16), np.zeros((len(draws), 3, 16, 16), np.uint8)
        for row, draw in enumerate(draws):
            noise[row] = draw.integers(0, 256, 3)[:, None, None] // 2 + draw.integers(0, 128, shape)
        return Samples(torch.from_numpy(noise), [None] * len(draws))


def keys_of_run(source, tower, output, **more):
    """Returns the keys of a recipe with the strategy above. No diffusion model is loaded."""
    return {
        "source": {"path": str(source)},
        "filter": {"path": tower, "references": 6, "policy": POLICY},
        "prompts": {"contexts": ["in snow", "at night"]},
        "strategy": f"{__name__}:Noise",
        "max_attempts": 3,
        "max_faulty": None,
        "strict": True,
        "output": str(output),
        **more,
    }


def start(recipe, share=None, errors=None):
    """Starts a process that works on a run, and returns it. It writes its error output to the file `errors`."""
    process = multiprocessing.get_context("fork").Process(target=_work, args=(recipe, share or Share(), errors))
    process.start()
    return process


def own_locks_of_progress_bars():
    """Gives this process its own locks of tqdm. A killed process can hold the lock that forked processes share."""
    TqdmDefaultWriteLock.mp_lock = None
    classes = [tqdm]
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        cls._lock = TqdmDefaultWriteLock()


def _work(recipe, share, errors):
    own_locks_of_progress_bars()
    if errors is not None:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
    pictures.SHEET_TILES = 2
    augment.run(recipe, progress=False, share=share)


def kill(process):
    """Kills a process as the kernel does when memory is full, and waits until it has ended."""
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def made(folder):
    """Returns how often each attempt and each real image was computed, by key."""
    counts = Counter()
    for path in (Path(folder) / ".diffcore/parts").glob("r*/??/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        names = [name for name in ("row_id", "copy", "attempt") if name in table.column_names]
        counts.update(zip(*(table[name].to_pylist() for name in names), strict=True))
    return counts


def join(processes):
    """Waits for processes and returns their exit statuses."""
    for process in processes:
        process.join(240)
    return [process.exitcode for process in processes]
