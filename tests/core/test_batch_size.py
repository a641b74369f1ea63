"""Tests of the number of images in a device batch while the free memory changes."""

import pytest

from diffcore_hf.core.batch_size import FIRST_WAIT, LONGEST_WAIT, BatchSize


def computed(size, capacity, batches):
    """Return the sizes of the batches that are tried on a device with memory for `capacity` images."""
    tried = []
    for _ in range(batches):
        tried.append(size.value)
        (size.failed if size.value > capacity else size.succeeded)(size.value)
    return tried


@pytest.mark.parametrize("largest, capacity, tried", [(16, 5, [16, 8, 4]), (5, 2, [5, 2]), (3, 1, [3, 1]), (1, 1, [1])])
def test_the_batch_is_halved_until_it_fits(largest, capacity, tried):
    assert computed(BatchSize(largest), capacity, len(tried) + 1) == [*tried, tried[-1]]


def test_the_batch_grows_back_to_its_largest_size_when_memory_is_free_again():
    size = BatchSize(16)
    size.failed(16)
    assert computed(size, 16, 3 * FIRST_WAIT) == [8] * FIRST_WAIT + [12] * FIRST_WAIT + [16] * FIRST_WAIT
    assert size.value == size.largest


def test_the_share_of_failed_batches_becomes_small():
    """A batch that grows too far fails. The time until the next growth doubles, so few batches fail in a long run."""
    size = BatchSize(16)
    tried = computed(size, 11, 4000)
    failed = [index for index, count in enumerate(tried) if count > 11]
    assert len(failed) < 12
    assert failed[-1] - failed[-2] > 2 * LONGEST_WAIT // 4


def test_a_smaller_last_batch_does_not_count():
    size = BatchSize(8)
    size.failed(8)
    for _ in range(10 * FIRST_WAIT):
        size.succeeded(3)
    assert size.value == 4
