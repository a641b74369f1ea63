"""Tests of the paths of folders that are united."""

import pytest

from diffcore_hf.augmentation.union import check_folders
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
