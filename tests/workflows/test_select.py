"""Tests of section `select` in a whole run: export, continuation, verification and card."""

import pytest
from run_folders import attempts_of, go, manifest, rows

from diffcore_hf.core.errors import UserError
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.verify import verify


def test_a_run_fills_rare_classes_and_another_selection_continues_the_folder(make, tmp_path):
    keys = {"filter.policy": {"name": "all"}, "max_attempts": 1}
    go(make(tmp_path / "out", select={"per_class": 4}, **keys))
    first = attempts_of(tmp_path / "out")
    labels = dict(zip(rows(tmp_path / "out")["row_id"], rows(tmp_path / "out")["label"], strict=True))
    assert sorted(labels[row_id] for row_id, _, _ in first) == [0] * 4 + [1] * 4 + [2] * 4
    assert sorted(copy for row_id, copy, _ in first if labels[row_id] == 0) == [0, 0, 0, 1]
    assert manifest(tmp_path / "out")["recipe"]["select"] == {"per_class": 4}
    assert verify(str(tmp_path / "out")) == []

    result = go(make(tmp_path / "out", select={"classes": [names(tmp_path / "out")[2]]}, **keys))
    assert result.new_attempts == 0
    assert {labels[row_id] for row_id, _, _ in attempts_of(tmp_path / "out")} == {2}
    assert verify(str(tmp_path / "out")) == []


def names(folder):
    return rows(folder, "classes")["name"][:]


def test_an_export_of_listed_rows_records_the_hash_of_the_list_and_not_its_path(done, tmp_path):
    listed = tmp_path / "my list.txt"
    wanted = sorted({row_id for row_id, _, _ in attempts_of(done.folder.path)})[:4]
    listed.write_text("\n".join(wanted))
    export(done.folder.path, tmp_path / "out", {"select": {"rows": str(listed)}, "filter": {"policy": {"name": "all"}}})
    assert sorted({row_id for row_id, _, _ in attempts_of(tmp_path / "out")}) == wanted
    assert verify(str(tmp_path / "out")) == []
    card = (tmp_path / "out/README.md").read_text()
    assert "# select.rows: the planned rows are the rows of a list (sha256 " in card
    assert "my list" not in card + (tmp_path / "out/diffcore.json").read_text()
    listed.write_text("train/0000000000000000")
    with pytest.raises(UserError, match="has no such row"):
        export(done.folder.path, tmp_path / "other", {"select": {"rows": str(listed)}})
