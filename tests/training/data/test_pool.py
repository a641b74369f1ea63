"""Tests of the pool of partners, which draws images of the same class but not the image of the row itself."""

from __future__ import annotations

import numpy as np
import pytest
from augmented_photos import augmented

from diffcore_hf.training.data.columns import Columns
from diffcore_hf.training.data.pool import Pool


@pytest.fixture(scope="module")
def rows():
    return augmented()


def test_partner_real_same_class_is_never_the_row_itself(rows):
    pool = Pool(rows, Columns(), without_self=True)
    ids, labels = rows["row_id"][:], rows["label"][:]
    for index, (row_id, label) in enumerate(zip(ids, labels, strict=True)):
        drawn = {pool.draw(np.random.default_rng(seed), label, row_id) for seed in range(60)}
        assert drawn == {other for other, other_label in enumerate(labels) if other_label == label and other != index}
    single_row = Pool(rows.select([0]), Columns(), without_self=True)
    assert single_row.draw(np.random.default_rng(0), 0, ids[0]) is None
