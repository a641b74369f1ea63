"""The pool: partners of the class, never the row itself."""

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
    for place, (row_id, label) in enumerate(zip(ids, labels, strict=True)):
        drawn = {pool.draw(np.random.default_rng(number), label, row_id) for number in range(60)}
        assert drawn == {other for other, same in enumerate(labels) if same == label and other != place}
    lonely = Pool(rows.select([0]), Columns(), without_self=True)
    assert lonely.draw(np.random.default_rng(0), 0, ids[0]) is None
