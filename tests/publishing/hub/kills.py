"""Pushes that are killed at some moment. Used by the tests (a few) and by `make faults` (many)."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from hub_double.client import environment
from hub_double.double import Double

HERE = Path(__file__).parent


def start(hub, home: Path, out: Path, repo: str, version: str, *, xet: bool) -> subprocess.Popen:
    """A push that is about to begin."""
    command = [sys.executable, str(HERE / "pushing.py"), str(out), repo, version]
    process = subprocess.Popen(command, env=environment(hub, home, xet=xet), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def push_and_kill(hub, home: Path, out: Path, repo: str, version: str, after: float, *, xet: bool) -> bool:
    """Kill a push so many seconds after it began; returns whether it was over before."""
    process = start(hub, home, out, repo, version, xet=xet)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    return process.communicate()[0] == "done\n"


def stored(hub: Double, repo: str) -> frozenset[str]:
    """The large objects, and the xorbs, that are there for a repository, whether committed or not."""
    return frozenset(hub.dataset(repo).objects) | frozenset(hub.objects.xet.xorbs)


def sent(hub: Double) -> set[str]:
    """The objects and xorbs whose bytes the log has."""
    tickets = [entry.target.split("/")[2] for entry in hub.log.select("PUT", "^/(upload|part|xorb-upload)/")]
    return {hub.objects.goal(ticket) for ticket in tickets}


def seconds_of(hub, home: Path, out: Path, repo: str, version: str, *, xet: bool) -> float:
    """How long a push takes that is left alone."""
    process = start(hub, home, out, repo, version, xet=xet)
    began = time.monotonic()
    assert process.communicate()[0] == "done\n"
    return time.monotonic() - began
