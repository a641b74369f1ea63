"""Tests of the checks of the closest image of an attempt."""

import numpy as np
import pytest

from diffcore_hf.publishing.audit.nearest import NEAREST, nearest_faults
from diffcore_hf.publishing.audit.references import ReferenceTable

RECIPE = {"filter": {"compare": ["leak", "copy"]}}
UNFOUNDED = "the reason does not follow from the kind and the score of the closest image"
REFERENCES = ReferenceTable({}, dict.fromkeys(("train/a", "test/b")), {}, {}, {})


@pytest.mark.parametrize(
    ("values", "reason", "fault"),
    [
        (("test/b", "split", float(np.float32(0.9))), "leak", None),
        (("train/a", "training", 0.9), "memorised", None),
        (("train/a", "counterpart", 0.2), "kept", None),
        ((None, None, None), "kept", None),
        ((None, None, None), "copy", "the reason needs a closest image, but the row has none"),
        (("test/b", None, 0.5), "kept", "the closest image has no row, kind or score"),
        (("test/x", "split", 0.5), "kept", "the closest image is not in configuration references"),
        (("train/a", "split", 0.5), "kept", "the kind of the closest image does not fit its split"),
        (("test/b", "training", 0.5), "kept", "the kind of the closest image does not fit its split"),
        (("test/b", "other", 0.5), "kept", "the kind of the closest image does not fit its split"),
        (("test/b", "split", -1.5), "kept", "the score of the closest image is not in [-1, 1]"),
        (("test/b", "split", 0.8999), "leak", UNFOUNDED),
        (("train/a", "training", 0.95), "leak", UNFOUNDED),
        (("test/b", "split", 0.95), "kept", "the attempt is kept, although the score of its closest image rejects it"),
        (("train/a", "training", 0.95), "kept", None),
        (("test/b", "split", 0.95), "duplicate", None),
    ],
)
def test_the_closest_image_fits_the_references_and_the_reason(values, reason, fault):
    row = dict(zip(NEAREST, values, strict=True)) | {"reason": reason}
    assert nearest_faults(row, REFERENCES, "train", RECIPE, heldout=False) == ([] if fault is None else [fault])


def test_a_held_out_row_counts_as_another_split():
    row = dict(zip(NEAREST, ("train/a", "split", 0.9), strict=True)) | {"reason": "leak"}
    assert nearest_faults(row, REFERENCES, "train", RECIPE, heldout=True) == []


def test_a_review_can_keep_an_image_that_shows_a_test_image():
    row = dict(zip(NEAREST, ("test/b", "split", 0.95), strict=True)) | {"reason": "kept"}
    assert nearest_faults(row, REFERENCES, "train", {**RECIPE, "review": "0" * 64}, heldout=False) == []
