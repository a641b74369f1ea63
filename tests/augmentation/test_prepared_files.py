"""Tests of the hashes of a finished preparation."""

import json

import pytest

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.prepared_files import FINISHED, DamagedPreparation, write_list

DAMAGES = {
    "another byte": lambda folder: (folder / "sub/tokens").write_bytes(b"token5"),
    "missing": lambda folder: (folder / "sub/tokens").unlink(),
    "a folder": lambda folder: ((folder / "sub/tokens").unlink(), (folder / "sub/tokens").mkdir()),
    "empty list": lambda folder: (folder / FINISHED).write_text(""),
    "another kind of list": lambda folder: (folder / FINISHED).write_text("[]"),
    "a folder as list": lambda folder: ((folder / FINISHED).unlink(), (folder / FINISHED).mkdir()),
}


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "parts")


@pytest.fixture
def prepared(ledger):
    """Returns the folder of a finished preparation with one file, and a temporary file of a killed writer."""
    folder = ledger.preparation("x")
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/tokens").write_bytes(b"tokens")
    (folder / ".left.tmp").write_bytes(b"")
    write_list(folder)
    (folder / ".left.tmp").unlink()
    return folder


def test_a_preparation_without_its_list_is_not_finished(ledger, prepared):
    assert ledger.is_prepared(prepared)
    assert list(ledger.damaged()) == []
    (prepared / FINISHED).unlink()
    assert not ledger.is_prepared(prepared)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_preparation_is_an_error_and_a_run_renames_it(ledger, prepared, damage, caplog):
    damage(prepared)
    with pytest.raises(DamagedPreparation, match=r"^preparation .*x is damaged \(.*Run augment again") as error:
        ledger.is_prepared(prepared)
    assert "\n" not in str(error.value)
    ledger.repairs = True
    prepared.with_name("x.bad").mkdir()
    assert not ledger.is_prepared(prepared)
    assert not prepared.exists()
    assert prepared.with_name("x.bad.1").is_dir()
    assert "It was renamed to x.bad.1" in caplog.text
    assert ledger.finished_preparations() == []


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a" * 300, "a\0b"])
def test_a_list_that_names_other_files_is_damaged(ledger, prepared, name):
    (prepared / FINISHED).write_text(json.dumps({name: "0"}))
    [damaged] = ledger.damaged()
    assert "which is no file of it" in str(damaged) and str(damaged).isprintable()
