"""Tests of the division of due items into parts."""

import pytest

from diffcore_hf.augmentation import part_sizes
from diffcore_hf.augmentation.part_sizes import PartSizes
from diffcore_hf.augmentation.tasks import CommittedPart, ReferenceTask


def sizes(count, batch, seconds_per_item, part_size=None, sizes=None, share=None, **options):
    """Returns the sizes of the parts of `count` items. The time of each part is known before the next part starts."""
    pieces = PartSizes(batch, part_size, **options)
    counts = []
    while (start := sum(counts)) < count:
        counts.append(pieces.take(count - start, sizes and sizes[start:], share and share(count - start)))
        task = ReferenceTask(tuple(map(str, range(counts[-1]))))
        pieces.measured(CommittedPart(task, None, seconds_per_item * counts[-1], batch))
    return counts


@pytest.mark.parametrize(
    "count, batch, seconds_per_item, part_size, expected",
    [
        (10, 4, 1.0, None, [4, 6]),
        (200, 4, 1.0, None, [4, 32, 60, 60, 44]),
        (10, 4, 100.0, None, [4, 4, 2]),
        (10, 4, 1.0, 3, [3, 3, 3, 1]),
        (0, 4, 1.0, None, []),
        (20000, 64, 0.001, None, [64, 512, 4096, 4096, 4096, 4096, 3040]),
    ],
    ids=["rest", "about a minute", "never below a batch", "a fixed size", "nothing", "never above the largest"],
)
def test_a_part_is_about_a_minute_of_whole_batches(count, batch, seconds_per_item, part_size, expected):
    assert sizes(count, batch, seconds_per_item, part_size) == expected


def test_large_images_make_small_parts(monkeypatch):
    monkeypatch.setattr(part_sizes, "PART_BYTES", 100)
    assert sizes(6, 4, 1.0, sizes=[30, 30, 30, 30, 500, 1]) == [2, 2, 1, 1]


@pytest.mark.parametrize(
    "stop_after, part_size, expected",
    [(50, None, [16, 48, 136]), (5, None, [16, 128, 56]), (0, None, [16, 128, 56]), (50, 100, [100, 100])],
    ids=["the first test", "within the first batch", "no test", "a fixed size"],
)
def test_a_part_ends_where_the_early_stop_is_tested(stop_after, part_size, expected):
    assert sizes(200, 16, 0.01, part_size, stop_after=stop_after) == expected


@pytest.mark.parametrize(
    "part_size, expected", [(None, [4, 20, 8, 4, 4]), (10, [10, 10, 10, 10])], ids=["measured", "a fixed size"]
)
def test_the_last_parts_are_small_if_several_workers_share_the_rest(part_size, expected):
    assert sizes(40, 4, 0.01, part_size, share=lambda due: due / 2) == expected
