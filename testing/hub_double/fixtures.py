"""Fixtures `hub`, `client`, `xet_client` and `either_client`. A folder of tests imports them in its conftest.py:

    from testing.hub_double.fixtures import client, either_client, hub, xet_client

A test process has one double and one worker of each kind for all tests, because the imports of a worker take seconds.
The endpoint of a worker cannot be changed. `hub` is reset before each test.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.hub_double.client import Client
from testing.hub_double.double import Double

__all__ = ["client", "either_client", "hub", "xet_client"]


@functools.cache
def _double() -> Double:
    return Double()


@functools.cache
def _client(xet: bool) -> Client:
    home = Path(tempfile.mkdtemp(prefix="hub-double-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    started = Client(_double(), home, xet=xet)
    atexit.register(started.close)
    return started


@pytest.fixture
def hub() -> Iterator[Double]:
    """Provides the empty double. The test fails after a request without a route or a request to another host."""
    double = _double()
    double.reset()
    yield double
    print(double.log)  # shown where the test fails
    double.verify()


@pytest.fixture
def client(hub) -> Client:
    """Provides a worker whose clients upload large files over LFS."""
    return _client(False)


@pytest.fixture
def xet_client(hub) -> Client:
    """Provides a worker whose clients upload large files over Xet, which is their default."""
    return _client(True)


@pytest.fixture(params=["client", "xet_client"])
def either_client(request) -> Client:
    """Runs the test twice, once with each worker."""
    return request.getfixturevalue(request.param)
