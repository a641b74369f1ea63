"""Tests of the difference of two small versions, which a reader can check by hand."""

import pyarrow as pa

from diffcore_hf.publishing.hub.difference import VersionContent, compare, counterparts_of


def version(manifest, originals, *attempts):
    names = ("row_id", "copy", "reason", "image_sha256")
    table = pa.table(dict(zip(names, zip(*attempts, strict=True), strict=True)))
    return VersionContent(manifest, originals, counterparts_of(table))


def test_each_kind_of_change_is_counted_and_reported():
    old = version(
        {"recipe": {"fraction": 0.5, "model": {"gamma": 2}}}, {"a": "1", "b": "2", "c": "3"},
        ("a", 0, "kept", "x"), ("b", 0, "low_rank", "y"), ("c", 0, "kept", "z"),
    )  # fmt: skip
    new = version(
        {"recipe": {"fraction": 1.0, "model": {"gamma": 2}}}, {"a": "1", "b": "9", "d": "4"},
        ("a", 0, "kept", "x2"), ("b", 0, "kept", "y"), ("c", 0, "low_rank", "z"),
    )  # fmt: skip
    difference = compare(old, new)
    assert (difference.rows_added, difference.rows_removed) == (("d",), ("c",))
    assert (difference.added, difference.removed, difference.changed) == ((("b", 0),), (("c", 0),), (("a", 0),))
    assert difference.recipe == (("fraction", 0.5, 1.0),) and difference.originals == ("b",)
    assert "fraction: 0.5 -> 1.0" in difference.text() and "counterparts changed" in difference.text()


def test_versions_with_equal_rows_have_no_difference_or_only_other_files():
    kept = ("a", 0, "kept", "x")
    same = version({"recipe": {}}, {"a": "1"}, kept)
    assert not compare(same, same) and compare(same, same).text() == "no difference"
    old, new = (version({"recipe": {}, "hash": digest}, {"a": "1"}, kept) for digest in "12")
    assert "in other files" in compare(old, new).text()
