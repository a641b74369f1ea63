"""Tests of the size of shards."""

import pytest

from diffcore_hf.augmentation.export import shard_bytes

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("total", "size"),
    [(0, GB // 5), (8 * GB, GB // 5), (16 * GB, 2 * GB // 5), (100 * GB, 5 * GB // 2), (900 * GB, 5 * GB)],
)
def test_shards_grow_with_the_dataset(total, size):
    assert shard_bytes(total) == size
