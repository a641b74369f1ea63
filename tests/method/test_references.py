"""Tests of the record of references: inconsistent arrays raise, and the order is fixed."""

import numpy as np
import pytest

from diffcore_hf.method.references import ReferenceEmbeddings


@pytest.mark.parametrize(
    ("labels", "embeddings", "text", "message"),
    [
        ([0, 2], np.ones((2, 3)), None, r"must be in \[0, 2\)"),
        ([0, -1], np.ones((2, 3)), None, "leave out unlabelled rows"),
        ([0], np.ones((2, 3)), None, "2 references"),
        ([0, 1], np.array([[1.0], [np.nan]]), None, "reference b has no finite embedding"),
        ([0, 1], np.ones((2, 3)), np.ones((2, 4)), "text"),
    ],
)
def test_inconsistent_arrays_raise(labels, embeddings, text, message):
    with pytest.raises(ValueError, match=message):
        ReferenceEmbeddings(["a", "b"], np.array(labels), embeddings, 2, text)


def test_references_are_ordered_by_class_and_row_id():
    ordered = ReferenceEmbeddings(["c", "a", "b"], np.array([0, 1, 0]), np.array([[1.0], [2.0], [3.0]]), 2).ordered()
    assert list(ordered.row_ids) == ["b", "c", "a"]
    assert ordered.embeddings[:, 0].tolist() == [3, 1, 2]
