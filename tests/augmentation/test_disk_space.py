"""Tests of the disk space of a run: the attempts of some parts are counted to estimate those of all parts."""

from types import SimpleNamespace

import pytest

from diffcore_hf.augmentation import disk_space
from diffcore_hf.augmentation.disk_space import DiskSpace


@pytest.mark.parametrize(
    ("most", "attempts"),
    [
        (500, 90),  # 10 parts of 3 attempts and 10 of 6: all are counted
        (4, 90),  # every sixth part is counted: two parts of 3 attempts and two of 6
        (1, 90),
    ],
)
def test_the_number_of_attempts_in_many_parts_is_estimated(tmp_path, monkeypatch, most, attempts):
    counts = {tmp_path / f"{number:02d}": 3 if number < 10 else 6 for number in range(20)}
    for path, count in counts.items():
        path.write_bytes(b"0" * 100 * count)
    ledger = SimpleNamespace(attempt_parts=lambda: list(counts), count=lambda paths: sum(map(counts.get, paths)))
    monkeypatch.setattr(disk_space, "COUNTED_PARTS", most)
    monkeypatch.setattr(disk_space, "_originals", lambda run: 0)
    space = DiskSpace(SimpleNamespace(ledger=ledger))
    assert (space._bytes, space._attempts) == (9000, attempts)
