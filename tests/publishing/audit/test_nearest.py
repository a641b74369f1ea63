"""Tests of the checks of the closest image of an attempt."""

import pytest

from diffcore_hf.publishing.audit.nearest import NEAREST, nearest_faults
from diffcore_hf.publishing.audit.references import ReferenceTable

REFERENCES = ReferenceTable({}, dict.fromkeys(("train/a", "test/b")), {}, {}, {})


@pytest.mark.parametrize(
    ("values", "reason", "fault"),
    [
        (("test/b", "split", 0.9), "leak", None),
        (("train/a", "training", 0.9), "memorised", None),
        (("train/a", "counterpart", 0.2), "kept", None),
        ((None, None, None), "kept", None),
        ((None, None, None), "copy", "the reason names a closest image, but there is none"),
        (("test/b", None, 0.9), "kept", "the closest image has no row, kind or score"),
        (("test/x", "split", 0.9), "kept", "the closest image is not in configuration references"),
        (("train/a", "split", 0.9), "kept", "the kind of the closest image does not fit its split"),
        (("test/b", "training", 0.9), "kept", "the kind of the closest image does not fit its split"),
        (("test/b", "other", 0.9), "kept", "the kind of the closest image does not fit its split"),
        (("test/b", "split", 1.5), "kept", "the score of the closest image is not in [-1, 1]"),
    ],
)
def test_the_closest_image_fits_the_references_and_the_reason(values, reason, fault):
    row = dict(zip(NEAREST, values, strict=True)) | {"reason": reason}
    assert nearest_faults(row, REFERENCES, "train", heldout=False) == ([] if fault is None else [fault])


def test_a_held_out_row_counts_as_another_split():
    row = dict(zip(NEAREST, ("train/a", "split", 0.9), strict=True)) | {"reason": "leak"}
    assert nearest_faults(row, REFERENCES, "train", heldout=True) == []
