"""Ray cluster: the connection to a cluster, and the places for workers on its nodes.

Owns the start and the end of the connection, its faults, and the rule how many workers a node gets. The workers are
Ray actors (ray_workers.py). The library ray is imported only when a function is called.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError, innermost_cause

RAY = "ray"
"""Value of the option --workers for workers on a Ray cluster."""
ADDRESS_VARIABLE = "RAY_ADDRESS"
CONNECT_SECONDS = 10.0
"""Longest time in seconds until the address of a cluster answers."""
LOCAL_STORE = 100 * 2**20
"""Bytes of the object store of a cluster that this program starts. No images are in it, so the smallest is enough."""


@dataclass(frozen=True)
class RayCluster:
    """The cluster of the option --address.

    Args:
        address: HOST:PORT. None: the cluster of the environment variable RAY_ADDRESS. If it is not set, the cluster
            that runs on this machine. If there is none, a new one on this machine, which ends with the program.
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
        """Context in which this process is connected to the cluster. An existing connection is used and stays.

        Raises:
            UserError: the cluster cannot be used.
        """
        self.check()
        with signals.unchanged_handlers():
            # A start of Ray sends no usage statistics.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            import ray

            is_own = not ray.is_initialized()
            if is_own:
                _connect(self.address)
        try:
            yield
        finally:
            if is_own:
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
            socket.create_connection((match[1], int(match[2])), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at {name} {address!r} ({innermost_cause(error)}). Start one there with `ray start "
            "--head`, or leave out --address to use this machine"
        ) from error


def _connect(address: str | None) -> None:
    """Connect this process to a cluster.

    Raises:
        UserError: the cluster cannot be used.
    """
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None and not os.environ.get(ADDRESS_VARIABLE):
            with suppress(ConnectionError):
                ray.init("auto", **quiet)
                return
            ray.init("local", include_dashboard=False, object_store_memory=LOCAL_STORE, **quiet)
        else:
            ray.init(address, **quiet)
    except Exception as error:
        named = address or os.environ.get(ADDRESS_VARIABLE) or "this machine"
        raise UserError(
            f"the Ray cluster at {named!r} cannot be used ({innermost_cause(error)}). Start it with the same versions "
            "of Python and Ray as this program, or use --workers auto"
        ) from error
