"""Tests of exports, which write another dataset from the facts of a run without a model."""

import subprocess
import sys

import pytest
from datasets import (
    DatasetDict,
)
from run_folders import go, manifest, published, rows, tree
from small_photos import photos, picture, write_photos

from diffcore_hf.core.folder import Folder
from diffcore_hf.core.schema import ADDED_COLUMNS
from diffcore_hf.workflows.export import export


@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_an_export_with_another_policy_needs_no_model(done, tmp_path, layout):
    script = (
        "import sys\n"
        "from diffcore_hf.commands.main import main\n"
        f"status = main(['export', {str(done.folder.path)!r}, '--output', {str(tmp_path / 'out')!r}, "
        f"'--filter.policy.name', 'all', '--fraction', '0.5', '--layout', {layout!r}])\n"
        "print(status, sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    before = tree(done.folder.path)
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "0 []", process.stdout
    assert process.stderr == ""
    assert tree(done.folder.path) == before
    assert Folder(tmp_path / "out").faults() == []
    default = rows(tmp_path / "out")
    if layout == "columns":
        assert sorted(default["status"]) == ["kept"] * 5 + ["not_planned"] * 5
    else:
        assert default.column_names == ["image", "label", "row_id", "is_generated"]
        assert default["is_generated"][:] == [False] * 10 + [True] * 5


def test_an_export_under_the_same_recipe_is_the_same_dataset(done, tmp_path):
    export(done.folder.path, tmp_path / "out", {})
    assert published(tmp_path / "out") == published(done.folder.path)


def test_the_manifest_of_an_export_differs_only_in_the_changed_keys(done, tmp_path):
    export(done.folder.path, tmp_path / "out", {"filter": {"policy": {"name": "all"}}})
    old, new = manifest(done.folder.path), manifest(tmp_path / "out")
    differing = {key for key in old | new if old.get(key) != new.get(key)}
    assert differing - {"configs"} == {"card", "counts", "files", "hash", "recipe", "recipe_digest"}
    assert {key for key in old["recipe"] if old["recipe"][key] != new["recipe"][key]} == {"filter"}


def test_an_export_equals_the_folder_that_a_run_with_its_recipe_publishes(make, done, copy, tmp_path):
    export(copy, tmp_path / "exported", {"filter": {"policy": {"name": "all"}}})
    go(make(copy, **{"filter.policy": {"name": "all"}}))
    assert published(tmp_path / "exported") == published(copy)


def test_an_export_folder_can_be_written_again_with_another_policy(done, tmp_path):
    for policy in ({"name": "all"}, {"name": "fixed", "t": 1.0}):
        outcome = export(done.folder.path, tmp_path / "out", {"filter": {"policy": policy}})
    assert outcome.summary.counts["kept"] == 0
    assert outcome.folder.faults() == []


def test_an_added_check_rejects_attempts_and_is_on_the_card(done, tmp_path, monkeypatch):
    (tmp_path / "own_checks.py").write_text(
        "from diffcore_hf.method.checks import Check\n"
        "EMPTY = Check('empty', 'shows an empty page', 'empty', lambda candidate: candidate.copy == 0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = {"filter": {"policy": {"name": "all"}, "checks": ["own_checks:EMPTY"]}}
    outcome = export(done.folder.path, tmp_path / "out", layer)
    assert set(outcome.summary.reasons) == {"empty"}
    assert outcome.folder.faults() == []
    assert "- `empty`: shows an empty page" in (outcome.folder.path / "README.md").read_text()
    assert manifest(outcome.folder.path)["recipe"]["filter"]["checks"] == ["own_checks:EMPTY"]


@pytest.mark.parametrize(
    "make_target, message",
    [
        (lambda out, tmp: out, "is the folder of a run"),
        (lambda out, tmp: (tmp / "thesis.tex").write_text("dear") and tmp, "holds files that no run"),
        (lambda out, tmp: (tmp / "file").write_text("x") and tmp / "file", "is a file"),
    ],
    ids=["the run itself", "files of another program", "a file"],
)
def test_an_export_into_a_run_a_file_or_another_folder_is_refused(copy, tmp_path_factory, make_target, message):
    folder = tmp_path_factory.mktemp("folder")
    target = make_target(copy, folder)
    before = tree(copy), tree(folder)
    with pytest.raises(ValueError, match=message):
        export(copy, target, {})
    assert (tree(copy), tree(folder)) == before


def test_an_export_folder_cannot_be_continued_or_exported_again(make, done, tmp_path):
    export(done.folder.path, tmp_path / "out", {})
    before = tree(tmp_path / "out")
    with pytest.raises(ValueError, match="is an export"):
        go(make(tmp_path / "out"))
    with pytest.raises(ValueError, match="is an export"):
        export(tmp_path / "out", tmp_path / "other", {})
    assert tree(tmp_path / "out") == before
    assert not (tmp_path / "other").exists()


def test_an_export_of_a_run_in_memory_reads_the_rows_from_the_published_files(make, tmp_path):
    ds = DatasetDict({"train": photos([3, 3]), "test": photos([1, 1])})
    go(make(tmp_path / "run", source="in-memory"), ds)
    export(tmp_path / "run", tmp_path / "out", {})
    assert published(tmp_path / "out") == published(tmp_path / "run")


def test_an_export_of_a_run_in_memory_has_the_same_held_out_rows(make, tmp_path):
    go(make(tmp_path / "run", source={"path": "in-memory", "holdout": 0.25}), photos([4, 4]))
    export(tmp_path / "run", tmp_path / "out", {})
    for split in ("train", "validation"):
        assert rows(tmp_path / "out", split=split)[:] == rows(tmp_path / "run", split=split)[:]


@pytest.mark.parametrize(
    "layer, images",
    [({"columns": {"prefix": "dc_"}}, 6), ({"include_originals": False}, 0), ({"include_rejected": True}, 6)],
    ids=["a prefix", "without originals", "with rejected images"],
)
def test_an_export_of_a_run_in_memory_can_publish_with_other_settings(make, tmp_path, layer, images):
    go(make(tmp_path / "run", source="in-memory"), photos([3, 3]))
    export(tmp_path / "run", tmp_path / "out", layer)
    default = rows(tmp_path / "out")
    assert sum(cell is not None for cell in default["image"]) == images
    assert default.column_names[2:] == [layer.get("columns", {}).get("prefix", "") + name for name in ADDED_COLUMNS]


def test_exporting_a_run_in_memory_without_originals_raises_an_error(make, tmp_path):
    go(make(tmp_path / "run", source="in-memory", include_originals=False), photos([3, 3]))
    for layer in ({}, {"include_originals": True}):
        with pytest.raises(ValueError, match="has no originals, and its source was in memory"):
            export(tmp_path / "run", tmp_path / "out", layer)


@pytest.mark.parametrize("change", [{"fraction": 0.5}, {"max_attempts": 1}])
def test_an_export_with_smaller_settings_equals_a_run_with_smaller_settings(make, done, tmp_path, change):
    """The ledger has more facts than the run with the smaller settings."""
    export(done.folder.path, tmp_path / "exported", change)
    go(make(tmp_path / "run", **change))
    assert published(tmp_path / "exported") == published(tmp_path / "run")


def test_an_export_after_clean_gives_a_one_line_error(make, copy, tmp_path):
    Folder(copy).clean()
    before = tree(copy)
    with pytest.raises(ValueError, match="was cleaned: its parts were deleted"):
        export(copy, tmp_path / "other", {})
    assert tree(copy) == before
    assert not (tmp_path / "other").exists()


def test_the_error_for_a_changed_source_names_the_source(recipe, make, tmp_path):
    source = write_photos(tmp_path / "photos", [2, 2])
    go(make(tmp_path / "run", source=str(source), max_attempts=1))
    (source / "red_fox" / "00.jpg").write_bytes(picture(0, 50))
    with pytest.raises(ValueError, match=r"is now local:.*, but .* was generated from local:"):
        export(tmp_path / "run", tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
