"""Changes: what one commit adds and deletes, by hand."""

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
    made = changes_to(folder, listed(CONTENT), {"README.md": b"card"}, None)
    assert set(made.add) == {*CONTENT, "README.md", "diffcore.json"} and made.delete == ()
    assert made.size() == 4 + 3 + 4 + 2


def test_what_is_there_is_not_sent_and_what_an_older_version_had_goes(folder):
    old = {"data/a.parquet": b"aaaa", "data/b.parquet": b"bb", "data/gone.parquet": b"x"}
    files = {"data/a.parquet": large(b"aaaa"), "data/b.parquet": large(b"bb"), "assets/x.png": plain(b"png"),
             "README.md": plain(b"card"), "notes.txt": plain(b"mine")}  # fmt: skip
    made = changes_to(folder, listed(CONTENT), {"README.md": b"card"}, State("c" * 40, files, listed(old)))
    assert set(made.add) == {"diffcore.json"}
    assert made.delete == ("data/b.parquet",)  # a person's notes stay; what is gone already is not deleted again


def test_equal_sizes_are_not_equal_files(folder):
    files = {"data/a.parquet": large(b"bbbb"), "assets/x.png": plain(b"gnp"), "diffcore.json": plain(b"{}")}
    made = changes_to(folder, listed(CONTENT), {}, State("c" * 40, files, None))
    assert set(made.add) == set(CONTENT)


def test_nothing_to_do_is_nothing(folder):
    files = {path: large(content) for path, content in CONTENT.items()} | {"diffcore.json": plain(b"{}")}
    assert not changes_to(folder, listed(CONTENT), {}, State("c" * 40, files, listed(CONTENT)))
