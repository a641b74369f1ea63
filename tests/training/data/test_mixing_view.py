"""Tests of the dataset of mode `append`: all rows without mixing, then one mixed row for each row with a partner."""

from __future__ import annotations

import pytest
from augmented_photos import augmented

from diffcore_hf import mixing_rows


@pytest.fixture(scope="module")
def rows():
    return augmented()


def test_mixing_rows_appends_the_rows_with_a_counterpart(rows):
    view = mixing_rows(rows)
    assert len(view) == 15 + 12
    assert view["mixed"][:] == [False] * 15 + [True] * 12
    assert view["row_id"][15:] == [
        row_id for row_id, status in zip(rows["row_id"], rows["status"], strict=True) if status == "kept"
    ]
