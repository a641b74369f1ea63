"""Tests of the context manager that pauses the garbage collector."""

import gc

import pytest

from diffcore_hf.core.collection import paused_collection


@pytest.mark.parametrize("enabled", [True, False])
def test_the_state_of_the_collector_is_restored(enabled):
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with paused_collection():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        with pytest.raises(KeyError), paused_collection():
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()
