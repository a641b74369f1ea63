"""Tests of the files that one commit adds and deletes, for a folder of two small files."""

import hashlib

import pytest

from diffcore_hf.publishing.hub.changes import changes_to
from diffcore_hf.publishing.hub.remote import RemoteFile, State, blob_of

CONTENT = {"data/a.parquet": b"aaaa", "assets/x.png": b"png"}


@pytest.fixture
def folder(tmp_path):
    for path, content in CONTENT.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / "diffcore.json").write_bytes(b"{}")
    return tmp_path


def listed(files):
    return {"files": [{"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                      for path, content in files.items()]}  # fmt: skip


def large(content):
    return RemoteFile(len(content), hashlib.sha256(content).hexdigest(), "0" * 40)


def plain(content):
    return RemoteFile(len(content), None, blob_of(content))


def test_everything_is_added_to_an_empty_repository(folder):
    changes = changes_to(folder, listed(CONTENT), {"README.md": b"card"}, None)
    assert set(changes.add) == {*CONTENT, "README.md", "diffcore.json"} and changes.delete == ()
    assert changes.size() == 4 + 3 + 4 + 2


def test_only_changed_files_are_sent_and_only_files_of_the_older_version_are_deleted(folder):
    old = {"data/a.parquet": b"aaaa", "data/b.parquet": b"bb", "data/missing.parquet": b"x"}
    files = {"data/a.parquet": large(b"aaaa"), "data/b.parquet": large(b"bb"), "assets/x.png": plain(b"png"),
             "README.md": plain(b"card"), "notes.txt": plain(b"mine")}  # fmt: skip
    changes = changes_to(folder, listed(CONTENT), {"README.md": b"card"}, State("c" * 40, files, listed(old)))
    assert set(changes.add) == {"diffcore.json"}
    # A file is deleted only if the older version lists it, the new version does not, and the repository still has it.
    assert changes.delete == ("data/b.parquet",)


def test_a_file_of_equal_size_with_other_content_is_sent(folder):
    files = {"data/a.parquet": large(b"bbbb"), "assets/x.png": plain(b"gnp"), "diffcore.json": plain(b"{}")}
    changes = changes_to(folder, listed(CONTENT), {}, State("c" * 40, files, None))
    assert set(changes.add) == set(CONTENT)


def test_a_repository_with_equal_files_needs_no_commit(folder):
    files = {path: large(content) for path, content in CONTENT.items()} | {"diffcore.json": plain(b"{}")}
    assert not changes_to(folder, listed(CONTENT), {}, State("c" * 40, files, listed(CONTENT)))
