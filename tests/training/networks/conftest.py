"""Fixtures for the tests of networks."""

from __future__ import annotations

import pytest
from huggingface_hub import constants


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path, monkeypatch):
    """Give every test its own empty Hub cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
