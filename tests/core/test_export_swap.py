"""Tests of the replacement of an export: races, faults at each step, and files that no manifest lists."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from exports import listing, publish, published, staged

from diffcore_hf.core import export_swap
from diffcore_hf.core import folder as folders
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.export_swap import ExportIsRunning, exporting, new_staging, replace_export
from diffcore_hf.core.folder import Folder, manifest_bytes, write_atomic
from diffcore_hf.core.leftovers import temporary_name


@pytest.fixture
def finished(tmp_path):
    """Returns a finished folder of two shards and a picture."""
    folder = Folder(tmp_path / "out")
    folder.write_run({"attempt_digest": "d"})
    replace_export(folder, *staged(folder, OLD))
    return folder


@pytest.fixture
def without_sync(monkeypatch):
    """Skips the waiting for the disk, because only the order of the steps matters."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


OLD = {"data/a": b"first", "data/b": b"second", "assets/sheet.png": b"old picture"}
NEW = {"data/b": b"second", "data/c": b"third", "generated/d": b"fourth", "assets/sheet.png": b"new picture"}


def test_a_new_export_replaces_all_files_of_the_old_one(finished):
    replace_export(finished, *staged(finished, NEW))
    assert published(finished) == {*NEW, "README.md", "diffcore.json"}
    assert finished.faults() == []
    assert {file.name for file in finished.private.iterdir()} == {"run.json"}


def test_files_that_no_manifest_lists_are_removed(finished):
    for name in ("data/stale.parquet", "generated/deep/stale.parquet", "data/.hidden"):
        write_atomic(finished.path / name, b"stale")
    (finished.path / "data/link").symlink_to(finished.run_file)
    (finished.path / "notes.txt").write_text("of a person")
    publish(finished, c=b"third")
    assert published(finished) == {"data/c", "README.md", "diffcore.json", "notes.txt"}
    assert finished.run_file.is_file()
    assert not (finished.path / "generated").exists()


@pytest.mark.parametrize(
    "obstacle",
    [
        lambda out: (out / "generated").write_text("a file in the place of a folder"),
        lambda out: (out / "data/c").mkdir(),
        lambda out: (out / "generated").symlink_to(out / "data"),
        lambda out: (out / "data/c").write_bytes(b"other content"),
        lambda out: ((out / "README.md").unlink(), (out / "README.md").mkdir()),
        lambda out: (out / "data/c").symlink_to(out / "README.md"),
    ],
    ids=["file for a folder", "folder for a file", "link", "another file", "folder for the card", "link for a file"],
)
def test_something_else_in_the_place_of_a_new_file_is_replaced(finished, obstacle):
    obstacle(finished.path)
    replace_export(finished, *staged(finished, NEW))
    assert finished.faults() == []
    assert published(finished) == {*NEW, "README.md", "diffcore.json"}
    assert (finished.path / "README.md").read_bytes() == b"card"


def test_a_staged_file_that_changed_stops_the_export_before_anything_is_replaced(finished):
    before = listing(finished.path)
    staging, manifest = staged(finished, NEW)
    (staging / "data/c").write_bytes(b"thirD")
    with pytest.raises(UserError, match=r"data/c changed after it was written.*Run the same command again"):
        replace_export(finished, staging, manifest)
    assert listing(finished.path) == before


def fail_at(patch, function, call, error):
    """Makes call number `call` of a function of `os` raise an error. Returns the list of the calls."""
    real, calls = getattr(os, function), []

    def failing(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == call:
            raise error
        return real(*arguments, **keywords)

    patch.setattr(os, function, failing)
    return calls


@pytest.mark.parametrize("function", ["replace", "fsync", "link"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_fault_at_any_step_leaves_the_old_export_and_no_staging_folder(
    finished, monkeypatch, without_sync, function, error
):
    before = listing(finished.path)
    for call in range(1, 100):
        staging, manifest = staged(finished, NEW)
        with monkeypatch.context() as patch:
            calls = fail_at(patch, function, call, error)
            try:
                replace_export(finished, staging, manifest)
            except type(error):
                pass
        assert not staging.exists()
        if len(calls) < call:
            break
        assert finished.faults() == []
        # The last call syncs the folder after the rename of the new manifest.
        if finished.manifest_file.read_bytes() == manifest_bytes(manifest):
            break
        assert listing(finished.path) == before, f"{function}, call {call}"
    assert calls
    replace_export(finished, *staged(finished, NEW))
    assert published(finished) == {*NEW, "README.md", "diffcore.json"}
    assert finished.faults() == []


def test_a_kill_before_the_manifest_is_written_is_a_fault_that_the_next_export_repairs(finished, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(export_swap._Exchange, "undo", lambda self: None)
        patch.setattr(export_swap._Exchange, "_replace", lambda self, name: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(finished, c=b"third")
    assert finished.faults() == [f"{finished.path} has no readable diffcore.json"]
    publish(finished, d=b"fourth")
    assert finished.faults() == []
    assert published(finished) == {"data/d", "README.md", "diffcore.json"}


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("locked", [True, False])
def test_exports_that_race_leave_one_complete_export(tmp_path, monkeypatch, without_sync, processes, locked):
    """Each thread is one process: it has its own staging folder and its own lock object."""
    if not locked:
        monkeypatch.setattr("filelock.FileLock.acquire", lambda *a, **k: (_ for _ in ()).throw(NotImplementedError))

    def export(number):
        folder = Folder(tmp_path / "out")
        files = {f"data/{number % 3}-{name}": bytes([number % 3]) * 1000 for name in "ab"}
        files["assets/sheet.png"] = bytes([number % 3])
        with exporting(folder):
            try:
                replace_export(folder, *staged(folder, files))
            except (UserError, OSError):
                assert not locked

    with ThreadPoolExecutor(processes) as threads:
        list(threads.map(export, range(12)))
    folder = Folder(tmp_path / "out")
    if not locked:
        export(1)  # the message advises to run the same command again
    assert folder.faults() == []
    assert {path.name for path in folders.unlisted_files(folder.path, folder.manifest()["files"])} == set()
    assert not list(folder.private.glob(".export*"))


def test_an_export_without_waiting_is_refused_if_another_process_exports(tmp_path):
    folder = Folder(tmp_path / "out")
    with exporting(folder), pytest.raises(ExportIsRunning), exporting(folder, wait=False):
        pass
    with exporting(folder, wait=False):
        pass


def test_a_process_with_the_lock_removes_the_staging_folders_of_every_host(tmp_path, monkeypatch):
    folder = Folder(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "another-host")
        other = temporary_name(folder.private / "export")
    other.mkdir(parents=True)
    (folder.private / "replaced/data").mkdir(parents=True)
    with exporting(folder):
        assert not other.exists()
        mine = new_staging(folder)
    assert {path.name for path in folder.private.iterdir()} == {"export.lock", mine.name}


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(errno.ENOLCK, "No locks available")], ids=repr)
def test_an_export_works_on_a_file_system_without_locks(tmp_path, monkeypatch, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    folder = Folder(tmp_path / "out")
    with exporting(folder):
        publish(folder, a=b"first")
    assert folder.faults() == []
