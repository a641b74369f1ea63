"""Tests of `verify` on datasets of hostile authors, who computed all hashes again: every fault is one line."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.tampering import seal
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, manifest_bytes
from diffcore_hf.core.image_formats import UnreadableImage
from diffcore_hf.workflows import made_again
from diffcore_hf.workflows.verify import verified

VALUES = {
    "an infinity": ("recipe", "model", "gamma", float("inf")),
    "a large number": ("card", "by_class", 0, "rejected_real", 10**60),
    "many levels": ("recipe", "model", "size", json.loads("[" * 500 + "]" * 500)),
    "a text for a section": ("recipe", "prompts", "x"),
    "a list for a section": ("card", []),
    "a list for a name": ("layout", ["columns"]),
    "a text for a number": ("recipe", "copies", "evil:Evil"),
    "another text for a number": ("card", "rejected_real", "x"),
    "a text for versions": ("stages", "x"),
    "a text for the tower": ("resolved", "filter", "x"),
    "a number for a template": ("card", "reasons", 7),
    "a text for embeddings": ("captions", "x"),
}


def outcome(folder):
    """Returns the faults that `verify` finds, or only the message of its UserError."""
    try:
        faults = verified(str(folder)).faults
    except UserError as error:
        faults = [str(error)]
    assert faults and all(fault.isprintable() for fault in faults), faults
    return faults


@pytest.mark.parametrize("path", VALUES.values(), ids=VALUES.keys())
def test_a_value_of_another_type_or_size_is_a_fault(published, path):
    content = json.loads((published / "diffcore.json").read_bytes())
    *keys, last, value = path
    parent = content
    for key in keys:
        parent = parent[key]
    parent[last] = value
    (published / "diffcore.json").write_bytes(manifest_bytes(content))
    assert outcome(published)


@pytest.fixture(scope="module")
def shared(done, tmp_path_factory):
    """Returns a folder with hard links to the published files of the finished run."""
    folder = tmp_path_factory.mktemp("hostile") / "out"
    for path in done.folder.path.rglob("*"):
        target = folder / path.relative_to(done.folder.path)
        if path.is_file() and ".diffcore" not in path.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return folder


@pytest.fixture
def published(shared):
    """Returns the folder with its own copy of diffcore.json, which a test can change. The fixture restores it."""
    content = (shared / "diffcore.json").read_bytes()
    (shared / "diffcore.json").unlink()
    (shared / "diffcore.json").write_bytes(content)
    yield shared
    (shared / "diffcore.json").write_bytes(content)


def _text(values):
    return pa.array(values, pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    ("config", "name", "column"),
    [
        ("generated", "context", lambda count: _text([b"\xff"] * count)),
        ("attempts", "reason", lambda count: pa.array(["a\nb\x1b[31m"] * count)),
        ("attempts", "embedding", lambda count: pa.array([[0.5, None]] * count, pa.list_(pa.float16()))),
        ("data", "context", lambda count: pa.array([[0.5]] * count)),
        ("data", "label", lambda count: pa.array([{"a": [0.5]}] * count)),
        ("data", "row_id", None),
    ],
    ids=["not UTF-8", "escapes", "short", "lists", "objects", "twice"],
)
def test_a_column_of_another_type_or_size_is_a_fault(copy, config, name, column):
    [path, *_] = (copy / config).iterdir()
    table = pq.read_table(path)
    if column is None:
        table = table.append_column(name, table[name])
    else:
        table = table.set_column(table.column_names.index(name), name, column(len(table)))
    pq.write_table(table, path)
    try:
        seal(copy)
    except Exception:  # The card cannot be rendered. This happens after the manifest was sealed.
        assert Folder(copy).faults() == []
    assert outcome(copy)


@pytest.mark.parametrize("name", ["data", "README.md", "assets/more.png"])
def test_no_file_is_read_through_a_link(published, monkeypatch, name):
    path, aside = published / name, published.parent / "aside"
    exists = path.exists()
    if exists:
        path.rename(aside)
    path.symlink_to("/etc")
    monkeypatch.setattr("diffcore_hf.workflows.verify.audit", lambda *_: pytest.fail("the rows were read"))
    try:
        assert outcome(published) == [f"{name} is a link. Replace it by the file"]
    finally:
        path.unlink()
        if exists:
            aside.rename(path)


def test_a_dataset_names_no_package_that_is_imported_for_it(published, monkeypatch):
    monkeypatch.setattr(made_again, "resolve_filter", lambda _: pytest.fail("a package was imported"), raising=False)
    content = json.loads((published / "diffcore.json").read_bytes())
    for path in ("package:antigravity/x", "package:diffcore_hf.miniature/../../x", "local:0"):
        content["resolved"]["filter"]["path"] = path
        shards = made_again.Shards(content, lambda *_: [], lambda _: [], images=False)
        with pytest.raises(UserError, match="does not name a public image tower"):
            made_again._tower(Folder(published), shards)


def test_an_image_that_cannot_be_decoded_differs_from_its_attempt(monkeypatch):
    attempt = made_again.Sampled(("a", 0, 0), b"x", "0" * 64, None)
    table = pa.table({"generated_image": [{"bytes": b"y", "path": None}], "reason": pa.nulls(1)})
    with pytest.raises(UnreadableImage):
        made_again.mean_difference(b"x", b"y")
    [fault] = made_again._different([attempt], table, strict=False)
    assert fault.startswith("a copy 0 attempt 0 has an image that cannot be decoded (")


@pytest.mark.parametrize("target", ["a" * 300, "a/" * 3000, "a\0b", "", "/dev/null", "a\nb"])
def test_a_target_that_no_folder_can_have_is_one_line(target):
    with pytest.raises(UserError):
        verified(target)


def test_options_are_checked_before_the_files(published):
    (published / "README.md.aside").symlink_to("/etc")
    try:
        with pytest.raises(UserError, match="--rescore is 0"):
            verified(str(published), rescore=0)
        with pytest.raises(UserError, match="--signer is nobody"):
            verified(str(published), "nobody")
    finally:
        (published / "README.md.aside").unlink()
