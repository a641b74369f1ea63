"""Kills: runs pushes in separate processes and kills them, for a few tests and for `make faults`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from testing.hub_double.client import environment
from testing.hub_double.double import Double

ROW_BYTES = 500_000
"""Bytes in a row of the pushed folders (enlarged.py). The files are so large that a kill leaves only some of them
stored."""
ROUNDING = 1.02
"""Tolerance when two numbers of sent bytes are compared. Different random bytes are divided into different chunks, so
the sizes of the headers differ by a few bytes."""


def start(hub: Double, home: Path, out: Path, repo: str, version: str, *, xet: bool) -> subprocess.Popen[str]:
    """Start a push and return when it has imported everything and sends its first request."""
    command = [sys.executable, "-m", "testing.pushing", str(out), repo, version]
    process = subprocess.Popen(command, env=environment(hub, home, xet=xet), stdout=subprocess.PIPE, text=True)
    assert _next_line(process) == "ready\n"
    return process


def push_and_kill(hub: Double, home: Path, out: Path, repo: str, version: str, after: float, *, xet: bool) -> bool:
    """Kill a push after `after` seconds, and return whether it had finished before."""
    process = start(hub, home, out, repo, version, xet=xet)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    return process.communicate()[0] == "done\n"


def push_and_kill_when(
    hub: Double, home: Path, out: Path, repo: str, version: str, condition: Callable[[], bool], *, xet: bool
) -> None:
    """Kill a push as soon as a condition is true."""
    process = start(hub, home, out, repo, version, xet=xet)
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[0] == ""


def stored(hub: Double, repo: str) -> int:
    """Return the number of bytes that the Hub stores for a repository in large objects and xorbs, committed or not."""
    objects = sum(hub.objects.size(sha256) for sha256 in hub.dataset(repo).objects)
    return objects + sum(map(len, hub.objects.xet.xorbs.values()))


def seconds_of(hub: Double, home: Path, out: Path, repo: str, version: str, *, xet: bool) -> float:
    """Return the seconds of an undisturbed push, without the start and the end of its process."""
    process = start(hub, home, out, repo, version, xet=xet)
    began = time.monotonic()
    assert _next_line(process) == "done\n"
    seconds = time.monotonic() - began
    process.communicate()
    return seconds


def _next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()
