"""Trainings in forked processes, as torchrun or a terminal starts them, without another import of torch."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState
from torch.distributed import TCPStore

from diffcore_hf.commands.train import main


def start(arguments: Sequence[str], errors: Path, **environment: str) -> BaseProcess:
    """Starts the program in a process group of its own, and returns the process. It writes its stderr to a file."""
    process = multiprocessing.get_context("fork").Process(target=_train, args=(arguments, errors, environment))
    process.start()
    return process


def train_on_processes(count: int, arguments: Sequence[str], folder: Path, **environment: str) -> list[tuple[int, str]]:
    """Runs the program on several processes with the variables that torchrun sets.

    Returns:
        The exit status and the stderr of each process, by rank.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        **environment,
    }
    files = [folder / f"{rank}.stderr" for rank in range(count)]
    processes = [
        start(arguments, file, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank, file in enumerate(files)
    ]
    for process in processes:
        process.join(200)
    return [(process.exitcode, file.read_text()) for process, file in zip(processes, files, strict=True)]


def _train(arguments: Sequence[str], errors: Path, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ |= environment
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    GradientState._reset_state()
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(1)
    sys.exit(main(arguments))
