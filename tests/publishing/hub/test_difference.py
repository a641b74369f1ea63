"""Difference: two versions by hand."""

import pyarrow as pa

from diffcore_hf.publishing.hub.difference import compare, kept_of


def attempts(*rows):
    return kept_of(
        pa.table(dict(zip(("row_id", "copy", "reason", "image_sha256"), zip(*rows, strict=True), strict=True)))
    )


def test_what_changed_is_counted_and_named():
    before = attempts(("a", 0, "kept", "x"), ("b", 0, "low_rank", "y"), ("c", 0, "kept", "z"))
    after = attempts(("a", 0, "kept", "x2"), ("b", 0, "kept", "y"), ("c", 0, "low_rank", "z"))
    old, new = (
        {"recipe": {"fraction": 0.5, "model": {"gamma": 2}}},
        {"recipe": {"fraction": 1.0, "model": {"gamma": 2}}},
    )
    found = compare(old, new, ({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"}), (before, after))
    assert (found.rows_added, found.rows_gone) == (("d",), ("c",))
    assert (found.added, found.gone, found.changed) == ((("b", 0),), (("c", 0),), (("a", 0),))
    assert found.recipe == (("fraction", 0.5, 1.0),) and found.originals == ("b",)
    assert "fraction: 0.5 -> 1.0" in found.text() and "counterparts changed" in found.text()


def test_nothing_changed_says_so():
    kept = attempts(("a", 0, "kept", "x"))
    found = compare({"recipe": {}}, {"recipe": {}}, ({"a": "1"}, {"a": "1"}), (kept, kept))
    assert not found and found.text() == "no difference"
    other = compare({"recipe": {}, "hash": "1"}, {"recipe": {}, "hash": "2"}, ({"a": "1"}, {"a": "1"}), (kept, kept))
    assert "in other files" in other.text()
