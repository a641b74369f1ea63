"""The view of mode append: every row clean, and the rows with a partner once more."""

from __future__ import annotations

import pytest
from augmented_photos import augmented

from diffcore_hf import mixing_rows


@pytest.fixture(scope="module")
def rows():
    return augmented()


def test_the_view_of_append_has_every_row_and_the_mixed_ones(rows):
    view = mixing_rows(rows)
    assert len(view) == 15 + 12
    assert view["mixed"][:] == [False] * 15 + [True] * 12
    assert view["row_id"][15:] == [i for i, s in zip(rows["row_id"], rows["status"], strict=True) if s == "kept"]
