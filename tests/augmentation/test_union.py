"""Tests of the union of folders of runs: the paths that it accepts, and the files that it copies."""

import os

import pytest

from diffcore_hf.augmentation.ledger import PREPARED
from diffcore_hf.augmentation.prepared_files import FINISHED, write_list
from diffcore_hf.augmentation.union import check_folders, unite
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder

RUN = {"attempt_digest": "a", "attempt": {}}


@pytest.mark.parametrize(
    ("out", "other", "message"),
    [
        ("out", "x\0y", "is not the folder of a run"),
        ("out", "n" * 300, "is not the folder of a run"),
        ("x\0y", "run", "cannot be written"),
        ("n" * 300, "run", "cannot be written"),
        ("run/sub", "run", "is inside the other"),
        ("run/.diffcore/parts/x", "run", "is inside the other"),
        ("run", "run/../run", "is named twice"),
    ],
)
def test_a_path_that_cannot_be_united_is_a_one_line_error(tmp_path, out, other, message):
    Folder(tmp_path / "run").write_run(RUN)
    with pytest.raises(UserError, match=message):
        check_folders(Folder(tmp_path / out), [Folder(tmp_path / other)])


@pytest.mark.parametrize("name", ["r0/ab/0-1.parquet", f"{PREPARED}/x/{FINISHED}"])
def test_a_pipe_in_the_place_of_a_fact_is_left_out_and_does_not_block(tmp_path, name):
    out, other = Folder(tmp_path / "out"), Folder(tmp_path / "run")
    other.write_run(RUN)
    pipe = other.parts / name
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    check_folders(out, [other])
    assert unite(out, [other], RUN).copied == 0


def test_a_damaged_preparation_is_not_copied(tmp_path):
    out, other = Folder(tmp_path / "out"), Folder(tmp_path / "run")
    other.write_run(RUN)
    prepared = other.parts / PREPARED / "x"
    prepared.mkdir(parents=True)
    (prepared / "tokens").write_bytes(b"tokens")
    write_list(prepared)
    (prepared / "tokens").write_bytes(b"token5")
    united = unite(out, [other], RUN)
    assert (united.copied, united.damaged) == (0, (prepared,))
    (prepared / "tokens").write_bytes(b"tokens")
    assert unite(out, [other], RUN).copied == 2
