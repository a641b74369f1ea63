"""Tests of the output folder: atomic writes, folders of other programs, complete and incomplete exports."""

import errno
import json
import os
import shutil
from functools import partial

import pytest
from exports import listing, publish

from diffcore_hf.core import folder as folders
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.export_swap import exporting
from diffcore_hf.core.folder import (
    Folder,
    canonical_json,
    check_target,
    manifest_bytes,
    write_atomic,
    write_hint,
)
from diffcore_hf.core.leftovers import remove
from diffcore_hf.core.run_record import RUN_FORMAT, run_bytes


@pytest.fixture
def finished(tmp_path):
    """Returns a finished folder of two files and one part."""
    folder = Folder(tmp_path / "out")
    folder.write_run({"attempt_digest": "d"})
    write_atomic(folder.parts / "r0" / "ab" / "part.parquet", b"facts")
    write_atomic(folder.rows / "f.txt", b"hashes")
    publish(folder, a=b"first", b=b"second")
    return folder


def test_a_write_creates_the_folders_of_a_file_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "parent" / "child" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert listing(tmp_path) == {"parent/child/file": b"two"}


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_partial_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(path, b"new")
    assert listing(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize(
    "make, refused",
    [
        (lambda path: None, None),
        (lambda path: path.mkdir(), None),
        (lambda path: Folder(path).write_run({}), None),
        (lambda path: (path.mkdir(), (path / "thesis.tex").write_text("a thesis")), "holds files that no run"),
        (lambda path: path.write_text("a file"), "is a file, not a folder"),
    ],
    ids=["absent", "empty", "own folder", "files of another program", "a file"],
)
def test_a_folder_with_files_of_another_program_is_refused(tmp_path, make, refused):
    make(tmp_path / "out")
    before = listing(tmp_path)
    if refused is None:
        Folder(tmp_path / "out").check_owned_or_empty()
    else:
        with pytest.raises(ValueError, match=refused) as error:
            Folder(tmp_path / "out").check_owned_or_empty()
        assert "--output" in str(error.value)
    assert listing(tmp_path) == before


def test_read_run_returns_none_before_the_first_run_and_its_content_afterwards(tmp_path):
    folder = Folder(tmp_path / "out")
    assert folder.read_run() is None
    folder.write_run({"b": 1, "a": {"ä": None}})
    assert folder.read_run() == {"a": {"ä": None}, "b": 1}


OWN = {"attempt_digest": "d", "recipes": [], "about": {}}


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b'"text"', b'{"attempt_digest": ', b"\x89PNG\r\n\x1a\n", b"[" * 100_000,
     b'{"format": 4}',
     run_bytes(OWN | {"identities": None}), run_bytes(OWN | {"identities": {}}), run_bytes(OWN | {"resolved": []}),
     run_bytes(OWN | {"resolved": {"filter": None}}), run_bytes(OWN | {"recipes": None}),
     canonical_json({"format": RUN_FORMAT, "attempt_digest": "d"}), b'{"format": [3], "hash": 1}', run_bytes(OWN)[:-9],
     run_bytes(OWN).replace(b'"d"', b'"e"'), run_bytes(OWN).replace(b'"format": ', b'"format": 1'), None],
    ids=range(20),
)  # fmt: skip
def test_a_damaged_run_json_names_the_file_and_the_remedy(tmp_path, content):
    folder = Folder(tmp_path / "out")
    write_atomic(folder.path / "data/a", b"first")
    if content is None:
        folder.run_file.mkdir(parents=True)
    else:
        write_atomic(folder.run_file, content)
    folder.check_owned_or_empty()
    for action in (folder.read_run, folder.clean):
        with pytest.raises(UserError, match=r"run\.json is damaged .*Restore it, or choose another --output") as error:
            action()
        assert "\n" not in str(error.value)


def test_a_folder_that_another_process_creates_now_is_not_refused(tmp_path):
    folder = Folder(tmp_path / "out")
    write_atomic(folder.private / ".run.json.host.1.0-01234567.tmp", b"{")
    folder.check_owned_or_empty()
    assert folder.read_run() is None


@pytest.mark.parametrize("name", ["run.json", "run.log.jsonl", "hashes.json", "export.lock", "rows", "parts"])
def test_something_else_in_the_place_of_a_file_is_a_one_line_error(finished, name):
    path = finished.private / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("a file")
    else:
        path.unlink(missing_ok=True)
        path.mkdir()
        (path / "x").write_text("x")

    def use():
        finished.read_run()
        finished.log("begin")
        finished.write_hashes({})
        with exporting(finished):
            write_atomic(finished.rows / "r.txt", b"hashes")
            write_atomic(finished.parts / "r0/ab/p.parquet", b"facts")

    with pytest.raises(UserError, match=rf"{name}.*(Remove|Delete|Restore)") as error:
        use()
    assert "\n" not in str(error.value)
    remove(path)
    if name != "run.json":
        use()


@pytest.mark.parametrize("name", ["run.json", "run.log.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_a_one_line_error_and_does_not_block(finished, name):
    path = finished.private / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    use = finished.read_run if name == "run.json" else partial(finished.log, "begin")
    with pytest.raises(UserError, match=rf"{name}.*not a regular file.*(Remove|Restore)"):
        use()


def test_a_link_to_itself_in_the_place_of_the_log_is_a_one_line_error(finished):
    finished.log_file.unlink(missing_ok=True)
    finished.log_file.symlink_to(finished.log_file.name)
    with pytest.raises(UserError, match=r"run.log.jsonl.*Remove"):
        finished.log("begin")


@pytest.mark.parametrize("format_number", [None, 1, RUN_FORMAT - 1, RUN_FORMAT + 1])
def test_a_folder_of_another_format_gives_a_one_line_error(tmp_path, format_number):
    folder = Folder(tmp_path / "out")
    content = {"attempt_digest": "d"} if format_number is None else {"attempt_digest": "d", "format": format_number}
    write_atomic(folder.run_file, canonical_json(content))
    for action in (folder.read_run, folder.clean):
        with pytest.raises(
            UserError, match=f"folder format {format_number or 1}, this version uses {RUN_FORMAT}.*--output"
        ) as error:
            action()
        assert "\n" not in str(error.value)


def test_a_manifest_contains_the_hash_of_its_own_body():
    written = manifest_bytes({"files": [], "b": 1})
    parsed = json.loads(written)
    assert len(parsed["hash"]) == 64
    assert manifest_bytes(parsed) == written
    assert json.loads(manifest_bytes(parsed | {"b": 2}))["hash"] != parsed["hash"]


def test_a_finished_folder_has_no_faults(finished):
    assert finished.faults() == []


@pytest.mark.parametrize(
    "damage, fault",
    [
        (lambda out: (out / "data/a").unlink(), "data/a is missing"),
        (lambda out: (out / "data/a").write_bytes(b"firsT"), "data/a is not the file that was exported"),
        (lambda out: (out / "data/a").write_bytes(b"first, and more"), "data/a is not the file that was exported"),
        (lambda out: (out / "diffcore.json").unlink(), "has no readable diffcore.json"),
        (lambda out: (out / "diffcore.json").write_text("{"), "has no readable diffcore.json"),
        (
            lambda out: (out / "diffcore.json").write_text(
                (out / "diffcore.json").read_text().replace('"size": 5', '"size": 6')
            ),
            "does not contain the hash of its own body",
        ),
    ],
    ids=["missing file", "changed byte", "longer file", "no manifest", "incomplete manifest", "tampered manifest"],
)
def test_a_damaged_folder_reports_its_fault_and_keeps_its_parts(finished, damage, fault):
    damage(finished.path)
    assert fault in finished.faults()[0]
    before = listing(finished.path)
    with pytest.raises(ValueError, match="is incomplete .* Run augment again"):
        finished.clean()
    assert listing(finished.path) == before


def test_a_changed_card_is_not_a_fault(finished):
    (finished.path / "README.md").write_text("words of a person")
    assert finished.faults() == []


def test_clean_deletes_parts_and_row_hashes_and_returns_the_freed_bytes(finished):
    assert finished.clean() == len(b"facts") + len(b"hashes")
    assert finished.faults() == []
    assert not finished.parts.exists()
    assert not finished.rows.exists()
    assert finished.read_run() == {"attempt_digest": "d", "cleaned": True}
    assert finished.clean() == 0


def test_clean_refuses_a_folder_of_another_program(tmp_path):
    (tmp_path / "thesis.tex").write_text("a thesis")
    with pytest.raises(ValueError, match="is not the folder of a run"):
        Folder(tmp_path).clean()
    assert listing(tmp_path) == {"thesis.tex": b"a thesis"}


def test_published_files_without_a_manifest_are_an_incomplete_export(finished):
    assert not finished.is_incomplete()
    finished.manifest_file.unlink()
    assert finished.is_incomplete()


@pytest.mark.parametrize("content", ["", "[1]", '"text"', '{"weights": 1}', '{"weights": null}', '{"weights": [1, 2]}'])
def test_a_damaged_file_of_hashes_is_ignored(tmp_path, content):
    folder = Folder(tmp_path)
    folder.write_hashes({"weights": [1, 2, "digest"]})
    assert folder.read_hashes() == {"weights": [1, 2, "digest"]}
    (folder.private / "hashes.json").write_text(content)
    assert folder.read_hashes() == {}


def test_a_path_that_cannot_be_written_is_a_one_line_error(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "missing").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in (
        ("folder", "because it is a folder"),
        ("file/x.json", "because it is below .*file, which is not a folder"),
        ("missing/x.json", "because it is below .*missing, which is not a folder"),
        ("loop/x.json", "cannot be written"),
        ("a" * 200, "has a name of more than 180 bytes"),
        ("é" * 100, "has a name of more than 180 bytes"),
        ("a\0b", "cannot be written"),
    ):
        for write in (check_target, lambda path: write_atomic(path, b"x")):
            with pytest.raises(UserError, match=message) as error:
                write(tmp_path / name)
            assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop", "missing"]


def test_a_folder_without_write_permission_is_reported_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="Permission denied"):
        check_target(tmp_path / "new" / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_a_file_a_pipe_and_a_link_are_replaced_and_the_target_of_the_link_stays(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "target2"):
        write_atomic(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "target").read_text() == "old"


def test_a_manifest_that_is_nested_too_deeply_is_not_read(tmp_path):
    (tmp_path / "diffcore.json").write_text("[" * 100_000)
    assert Folder(tmp_path).manifest() is None


@pytest.mark.parametrize(
    "run, problem",
    [({"exported": True}, "is an export. Name the folder"), ({"cleaned": True}, "was cleaned: its parts"),
     (None, "is not the folder of a run of diffcore-hf. Give the --output")],
)  # fmt: skip
def test_a_folder_without_parts_is_refused_with_the_remedy(tmp_path, run, problem):
    folder = Folder(tmp_path / "out")
    if run is not None:
        folder.write_run(run)
    with pytest.raises(UserError, match=problem):
        folder.existing_run()
    if run == {"cleaned": True}:
        assert folder.existing_run(with_parts=False)["cleaned"]


def test_a_hint_is_replaced_completely_and_a_fault_of_the_disk_is_ignored(tmp_path, monkeypatch):
    path = tmp_path / "hints" / "hint.json"
    write_hint(path, {"a": [1, 2]})
    write_hint(path, {"a": [3]})
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    write_hint(path, {"a": [4]})
    assert json.loads(path.read_text()) == {"a": [3]}
    assert [entry.name for entry in path.parent.iterdir()] == ["hint.json"]
