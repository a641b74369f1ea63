"""Fixtures for the tests of the Hub double, a local test server in place of the Hub."""

import pytest

from testing.hub_double.fixtures import client, either_client, hub, xet_client

__all__ = ["client", "either_client", "hub", "xet_client"]


@pytest.fixture
def repo(hub) -> str:
    """Returns the id of a public dataset without files."""
    repo_id = hub.repo_id()
    hub.create(repo_id)
    return repo_id
