"""Pushes that are killed at some moment. Used by the tests (a few) and by `make faults` (many)."""

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
"""Of the folders that are pushed, see enlarged.py: large enough that a kill finds some of it stored and some not."""
ROUNDING = 1.02
"""Chunks of other random bytes have other borders, so the headers of a xorb differ by a few bytes."""


def start(hub, home: Path, out: Path, repo: str, version: str, *, xet: bool) -> subprocess.Popen:
    """A push that is about to begin."""
    command = [sys.executable, "-m", "testing.pushing", str(out), repo, version]
    process = subprocess.Popen(command, env=environment(hub, home, xet=xet), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def push_and_kill(hub, home: Path, out: Path, repo: str, version: str, after: float, *, xet: bool) -> bool:
    """Kill a push so many seconds after it began; returns whether it was over before."""
    process = start(hub, home, out, repo, version, xet=xet)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    return process.communicate()[0] == "done\n"


def push_and_kill_when(hub, home: Path, out: Path, repo: str, version: str, now: Callable[[], bool], *, xet: bool):
    """Kill a push as soon as something has happened."""
    process = start(hub, home, out, repo, version, xet=xet)
    limit = time.monotonic() + 60
    while not now():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[0] == ""


def stored(hub: Double, repo: str) -> int:
    """Bytes of the large objects, and of the xorbs, that are there for a repository, whether committed or not."""
    objects = sum(hub.objects.size(sha256) for sha256 in hub.dataset(repo).objects)
    return objects + sum(map(len, hub.objects.xet.xorbs.values()))


def seconds_of(hub, home: Path, out: Path, repo: str, version: str, *, xet: bool) -> float:
    """How long a push takes that is left alone; to its last word, not to the end of its process."""
    process = start(hub, home, out, repo, version, xet=xet)
    began = time.monotonic()
    assert process.stdout.readline() == "done\n"
    seconds = time.monotonic() - began
    process.communicate()
    return seconds
