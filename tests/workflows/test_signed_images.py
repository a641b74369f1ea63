"""Tests of export --c2pa: signed copies of the kept images in a new folder, outside the folder of the run."""

import hashlib
import json
import shutil
import sys

import pytest
from c2pa_files import write_chain
from run_folders import rows, tree

from diffcore_hf.commands.main import main
from diffcore_hf.workflows import signed_images

FILES = ("--c2pa_certificate", "chain.pem", "--c2pa_key", "key.pem")


class CopyingSigner:
    """Stands for the signer. A signed copy is the image itself."""

    def __init__(self, certificate, key, generator):
        assert (certificate, key, generator[0]) == ("chain.pem", "key.pem", "diffcore-hf")

    def signed(self, image, mark):
        return image


@pytest.fixture
def work_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signed_images, "ImageSigner", CopyingSigner)
    return tmp_path


def refused(capsys, *argv):
    """Returns the error line of a refused command."""
    assert main(list(argv)) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def kept(folder):
    """Returns the hashes of the kept images of a folder."""
    return {row["image_sha256"] for row in rows(folder, "attempts") if row["reason"] == "kept"}


def test_the_copies_are_named_by_the_hashes_of_the_kept_images(done, work_folder, capsys):
    out = done.folder.path
    before = tree(out)
    (work_folder / "signed").mkdir()
    assert main(["export", str(out), "--c2pa", "signed", *FILES]) == 0
    files = {path.name: path.read_bytes() for path in (work_folder / "signed").iterdir()}
    assert set(files) == {f"{name}.jpg" for name in kept(out)}
    assert all(hashlib.sha256(content).hexdigest() == name[:-4] for name, content in files.items())
    assert f"'signed' has {len(files):,} images with signed manifests" in capsys.readouterr().out
    assert tree(out) == before
    assert [path.name for path in work_folder.iterdir()] == ["signed"]


def test_keys_of_scope_decision_change_the_choice(done, work_folder):
    assert main(["export", str(done.folder.path), "--c2pa", "new/all", *FILES, "--filter.policy.name", "all"]) == 0
    assert len(list((work_folder / "new/all").iterdir())) > len(kept(done.folder.path))


def test_a_stopped_export_leaves_no_folder_and_a_killed_one_is_removed_later(done, work_folder, monkeypatch):
    argv = ["export", str(done.folder.path), "--c2pa", "signed", *FILES]

    def stopped(self, image, mark):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CopyingSigner, "signed", stopped)
        assert main(argv) == 130
        assert list(work_folder.iterdir()) == []
        patch.setattr(signed_images, "remove", lambda path: None)  # nothing is removed, as after a kill
        assert main(argv) == 130
    [left] = work_folder.iterdir()
    assert left.name.startswith(".signed.") and left.suffix == ".tmp"
    monkeypatch.setattr(signed_images, "is_leftover", lambda name: name == left.name)
    assert main(argv) == 0
    assert [path.name for path in work_folder.iterdir()] == ["signed"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--c2pa", "full"), "--c2pa is full, which exists already and was not changed. Choose a new folder"),
        (("--c2pa", "link"), "--c2pa is link, which exists already"),
        (("--c2pa", "file"), "--c2pa is file, which exists already"),
        (("--c2pa", "file/signed"), "/file, which is not a folder. Remove what is there, or use another path"),
        (("--c2pa", "OUT"), "which exists already"),
        (("--c2pa", "OUT/signed"), "which is inside"),
        (("--c2pa", "way/signed"), "which is inside"),
        (("--c2pa", ""), "--c2pa is '.', which is not the name of a new folder"),
        (("--c2pa", "new/.."), "--c2pa is 'new/..', which is not the name of a new folder"),
        (("--c2pa", "new", "--output", "data"), "--output is for a dataset"),
        (("--c2pa", "new", "--layout", "rows"), "--layout is for a dataset"),
        (("--c2pa", "new", "--sign", "key"), "--sign is for a dataset"),
        (("--c2pa", "new", "--include_rejected"), "--include_rejected is for a dataset"),
        ((), "--c2pa_certificate is only for signed images. Add --c2pa FOLDER"),
        (("--output", "new"), "--c2pa_certificate is only for signed images. Add --c2pa FOLDER"),
        (("--c2pa", "new", "--filter.policy.name", "fixed", "--filter.policy.t", "1"), "has no kept image"),
    ],
)
def test_a_wrong_folder_or_combination_is_one_line_and_changes_nothing(done, work_folder, capsys, words, expected):
    (work_folder / "full").mkdir()
    (work_folder / "full" / "thesis.tex").write_text("dear")
    (work_folder / "file").write_text("x")
    (work_folder / "link").symlink_to("nowhere")
    (work_folder / "way").symlink_to(done.folder.path)
    before = tree(done.folder.path), sorted(work_folder.rglob("*"))
    out = str(done.folder.path)
    line = refused(capsys, "export", out, *FILES, *(word.replace("OUT", out) for word in words))
    assert expected in line
    assert (tree(done.folder.path), sorted(work_folder.rglob("*"))) == before


@pytest.mark.parametrize("given, missing", [(FILES[:2], "--c2pa_key"), (FILES[2:], "--c2pa_certificate")])
def test_a_missing_file_is_named(done, work_folder, capsys, given, missing):
    line = refused(capsys, "export", str(done.folder.path), "--c2pa", "new", *given)
    assert f"Add {missing} FILE.pem" in line


def test_an_export_without_a_folder_names_both_options(done, capsys):
    line = refused(capsys, "export", str(done.folder.path))
    assert "Add --output FOLDER for a dataset, or --c2pa FOLDER for signed images" in line


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_copies_have_valid_manifests_with_the_digest_of_the_run(done, tmp_path, monkeypatch):
    c2pa = pytest.importorskip("c2pa")
    monkeypatch.chdir(tmp_path)
    write_chain(tmp_path)
    assert main(["export", str(done.folder.path), "--c2pa", "signed", *FILES]) == 0
    run = json.loads((done.folder.path / ".diffcore" / "run.json").read_text())
    copies = sorted((tmp_path / "signed").iterdir())
    assert len(copies) == len(kept(done.folder.path))
    for copy in copies:
        with open(copy, "rb") as file, c2pa.Reader("image/jpeg", file) as reader:
            assert reader.get_validation_state() == "Valid"
            text = reader.json()
        assert run["attempt_digest"] in text and run["about"]["model"]["path"] in text
        assert "red_fox" not in text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_missing_library_is_one_line_before_the_run_is_read(work_folder, capsys, monkeypatch):
    from diffcore_hf.publishing.content_credentials import ImageSigner

    monkeypatch.setattr(signed_images, "ImageSigner", ImageSigner)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    write_chain(work_folder)
    line = refused(capsys, "export", "out", "--c2pa", "new", *FILES)
    assert "pip install 'diffcore-hf[c2pa]'" in line
