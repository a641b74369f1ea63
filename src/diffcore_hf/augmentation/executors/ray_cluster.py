"""Ray cluster: the connection to a cluster, and the places for workers on its nodes.

Owns the start and the end of the connection, its faults, and the rule for the number of workers of a node.
The workers are Ray actors (ray_workers.py). The library ray is imported only when a function is called.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError, innermost_cause

RAY = "ray"
"""Value of the option --workers for workers on a Ray cluster."""
ADDRESS_VARIABLE = "RAY_ADDRESS"
ANSWER_SECONDS = 10.0
"""Longest time in seconds until something answers at the address of a cluster."""
CONNECT_SECONDS = 60.0
"""Longest time in seconds until a process is connected to the cluster."""
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
LOCAL_STORE = 100 * 2**20
"""Bytes of the object store of a cluster that this program starts. No images are in it, so the smallest is enough."""


@dataclass(frozen=True)
class RayCluster:
    """The cluster of the option --address.

    Args:
        address: HOST:PORT. None: the first of these that exists is used: the cluster that the environment variable
            RAY_ADDRESS names, the cluster that runs on this machine, or a new cluster on this machine, which ends with
            the program.
    """

    address: str | None = None

    def check(self) -> None:
        """Check that Ray is installed and that something answers at the address.

        Raises:
            UserError: Ray is not installed, or nothing answers.
        """
        if importlib.util.find_spec("ray") is None:
            raise UserError("--workers ray needs the library ray. Run: pip install 'diffcore-hf[ray]'")
        if self.address is not None:
            _check_answers(self.address, "--address")
        elif (named := os.environ.get(ADDRESS_VARIABLE)) and named not in ("auto", "local"):
            _check_answers(named, ADDRESS_VARIABLE)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Context in which this process is connected to the cluster. An existing connection is used and is not closed.

        Raises:
            UserError: the cluster cannot be used.
            Stopped: a signal was received before the connection existed.
        """
        self.check()
        # Ray does not send usage statistics.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with signals.unchanged_handlers():
            import ray
        if ray.is_initialized():
            yield
            return
        try:
            with signals.interruptible(signals.PREPARATION), signals.unchanged_handlers():
                _connect(self.address)
            yield
        finally:
            with signals.protected(), signals.unchanged_handlers():
                ray.shutdown()


@dataclass(frozen=True, order=True)
class Place:
    """A place for one worker on a node."""

    node: str
    """Id of the node in Ray."""
    index: int
    """Number of the worker on this node."""
    cpus: float
    """Number of CPUs that the worker reserves."""
    gpus: int
    """Number of GPUs that the worker reserves: 1 or 0."""
    threads: int
    """Number of threads of the worker."""


def alive(nodes: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of the nodes that are in the cluster now.

    Args:
        nodes: the result of `ray.nodes()`.
    """
    return {node["NodeID"] for node in nodes if node["Alive"]}


def places(nodes: Iterable[Mapping[str, Any]], device: str) -> list[Place]:
    """Return the places for workers: one for each GPU or, without any GPU, one for each node with CPUs.

    A worker on a GPU reserves one CPU, and the workers of a node share its threads. A worker without a GPU reserves all
    CPUs of its node.

    Args:
        nodes: the result of `ray.nodes()`.
        device: `model.device` of the recipe. `cpu` ignores GPUs, and a kind of GPU ignores nodes without GPUs.
    """
    resources = {node["NodeID"]: node.get("Resources", {}) for node in nodes if node["Alive"]}
    gpus = {name: 0 if device == "cpu" else int(has.get("GPU", 0)) for name, has in resources.items()}
    found = []
    for name, has in sorted(resources.items()):
        cpus, count = float(has.get("CPU", 0)), gpus[name]
        threads = max(1, int(cpus) // max(1, count))
        if count:
            found += [Place(name, index, min(1.0, cpus), 1, threads) for index in range(count)]
        elif cpus >= 1 and device in ("auto", "cpu") and not any(gpus.values()):
            found.append(Place(name, 0, cpus, 0, threads))
    return found


def _check_answers(address: str, name: str) -> None:
    """Raise UserError if nothing answers at an address.

    Args:
        address: HOST:PORT, or ray://HOST:PORT for the server of Ray clients.
        name: name of the option or variable, for the message.
    """
    match = re.fullmatch(r"(?:ray://)?\[?([^\s/]+?)\]?:(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 2**16:
        raise UserError(f"{name} is {address!r}; use HOST:PORT, such as 10.0.0.1:6379, as `ray start --head` prints it")
    try:
        with signals.interruptible(signals.PREPARATION):
            socket.create_connection((match[1], int(match[2])), ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at {name} {address!r} ({innermost_cause(error)}). Start one there with `ray start "
            "--head`, or leave out --address to use this machine"
        ) from error


def _connect(address: str | None) -> None:
    """Connect this process to a cluster, or start one on this machine.

    Raises:
        UserError: the cluster cannot be used.
    """
    import ray

    named = address or os.environ.get(ADDRESS_VARIABLE)
    try:
        fault = _fault_of(named or "auto")
        if fault is None:
            ray.init(named or "auto", **_QUIET)
        elif named is None:
            ray.init("local", include_dashboard=False, object_store_memory=LOCAL_STORE, **_QUIET)
        else:
            raise _unusable(named, fault)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"no Ray cluster answered at {named or 'the address of the last one on this machine'!r} within "
            f"{CONNECT_SECONDS:.0f} s. Run `ray stop`, start the cluster with `ray start --head`, and use the address "
            "that it prints"
        ) from error
    except SystemExit as error:
        # While Ray connects, its own handler ends the process after SIGTERM.
        raise signals.Stopped(int(signal.SIGTERM)) from error
    except (ConnectionError, RuntimeError) as error:
        raise _unusable(named or "this machine", innermost_cause(error)) from error


def _fault_of(address: str) -> str | None:
    """Connect another process to a cluster, and return why this failed; None if it succeeded.

    If something else than Ray answers at the address, Ray waits for minutes and ignores signals. So another process
    tries first, because it can be ended.

    Raises:
        TimeoutExpired: the process was not connected after CONNECT_SECONDS.
    """
    code = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')"
    tried = subprocess.run(
        [sys.executable, "-c", code, address],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CONNECT_SECONDS,
    )
    lines = tried.stderr.strip().splitlines() or ["it gave no reason"]
    return None if tried.returncode == 0 else lines[-1]


def _unusable(name: str, fault: str) -> UserError:
    return UserError(
        f"the Ray cluster at {name!r} cannot be used ({fault}). Start it with the same versions of Python and Ray as "
        "this program, or use --workers auto"
    )
