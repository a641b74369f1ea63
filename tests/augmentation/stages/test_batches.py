"""Tests of device batches that need too much memory, with strategies that do not handle this error themselves."""

from types import SimpleNamespace

import pytest

from diffcore_hf.augmentation.stages.batches import DeviceBatches
from diffcore_hf.core.batch_size import FIRST_WAIT
from diffcore_hf.core.errors import UserError


@pytest.fixture
def device():
    """Returns a strategy, a function that computes a batch, and the tried sizes. The memory is enough for 3 images."""
    device = SimpleNamespace(strategy=SimpleNamespace(batch_size=8, strict=False), capacity=3, tried=[])

    def work(rows):
        device.tried.append(len(rows))
        if len(rows) > device.capacity:
            raise MemoryError
        return [(row, None) for row in rows]

    device.work = work
    return device


def test_out_of_memory_halves_the_batch_and_no_row_is_lost_or_done_twice(device):
    batches = DeviceBatches(device.strategy)
    progress = []
    results = list(batches.run(device.work, 10, progress.append))
    assert results == [(row, (row, None)) for row in range(10)]
    assert device.tried == [8, 4, 2, 2, 2, 2, 2]
    assert progress == [2] * 5


def test_the_batch_grows_when_memory_is_free_again(device):
    batches = DeviceBatches(device.strategy)
    list(batches.run(device.work, 8))
    done = device.tried.count(2)
    device.capacity, device.tried = 8, []
    list(batches.run(device.work, 400))
    assert device.tried[: FIRST_WAIT + 1 - done] == [2] * (FIRST_WAIT - done) + [3]
    assert {2, 3, 4, 6, 8} <= set(device.tried)


@pytest.mark.parametrize(
    "strict, capacity, message",
    [(False, 0, r"out of memory for one image: .*Use --model\.offload model"),
     (True, 3, r"fixed with strict: .*Use --model\.offload model, or --strict false in a new --output")],
)  # fmt: skip
def test_a_batch_that_cannot_be_smaller_stops_the_run_with_advice(device, strict, capacity, message):
    device.strategy.strict, device.capacity = strict, capacity
    with pytest.raises(UserError, match=message):
        list(DeviceBatches(device.strategy).run(device.work, 10))
