"""Tests of paths in a dataset that name files outside it: plan, augment, export, join and push do not read them."""

import hostile_hub
import pytest
from datasets import DatasetDict
from hostile import CANARY, everything, hostile_dataset, hostile_paths, link_folder, write_parquet
from run_folders import go, manifest, rows

from diffcore_hf.augmentation.originals import original_rows
from diffcore_hf.commands.main import main
from diffcore_hf.workflows import plan as plan_workflow
from diffcore_hf.workflows.augment import prepare
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.originals import join_originals
from diffcore_hf.workflows.verify import verify
from testing import hub_steps
from testing.hub_double.fixtures import client, hub  # noqa: F401 (fixtures)

GOOD, ALL = 6, {"filter.policy": {"name": "all"}}


def parquet(folder):
    write_parquet(hostile_dataset(folder), folder / "train.parquet")
    return str(folder), None


def in_memory(folder):
    return "in-memory", hostile_dataset(folder)


def in_memory_with_root(folder):
    return {"path": "in-memory", "root": str(folder)}, hostile_dataset(folder)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("source", [parquet, in_memory, in_memory_with_root])
def test_no_file_outside_the_dataset_is_read_through_a_cell(source, folder, make, tmp_path, capsys, caplog):
    path, data = source(folder)
    recipe = make(tmp_path / "out", source=path, **ALL)
    print(plan_workflow.text(prepare(recipe, data)))
    assert go(recipe, data).summary.failed_rows == {"unreadable": len(hostile_paths(folder)) + 1}
    assert rows(tmp_path / "out")["status"][:GOOD] == ["kept"] * GOOD
    for row in rows(tmp_path / "out").select(range(GOOD, GOOD + len(hostile_paths(folder)) + 1)):
        assert (row["status"], row["image"], row["second"]["bytes"] if row["second"] else None) == (
            "failed",
            None,
            None,
        )
        assert row["several"][1] is None and row["nested"]["inner"] is None
    references = rows(tmp_path / "out", "references")
    assert references["source_sha256"][GOOD:] == [None] * (len(hostile_paths(folder)) + 1)
    assert all(reason.startswith("unreadable: ") for reason in references["reason"][GOOD:])
    assert verify(str(tmp_path / "out")) == []
    for layout in ("rows", "mixed"):
        export(tmp_path / "out", tmp_path / layout, {}, layout)
        assert CANARY.encode() not in everything(tmp_path / layout)
    assert CANARY.encode() not in everything(tmp_path / "out")
    assert CANARY not in capsys.readouterr().out + caplog.text


def test_links_and_special_files_of_a_class_folder_are_not_read(folder, make, tmp_path, capsys):
    recipe = make(tmp_path / "out", source=str(link_folder(folder)), **ALL)
    print(plan_workflow.text(prepare(recipe)))
    go(recipe)
    assert rows(tmp_path / "out")["status"][:].count("kept") == 8
    assert verify(str(tmp_path / "out")) == []
    assert CANARY.encode() not in everything(tmp_path / "out")
    assert CANARY not in capsys.readouterr().out


@pytest.mark.parametrize("source", ["cells", pytest.param("links", marks=pytest.mark.slow)])
def test_environment_variables_are_not_published(source, folder, tiny, tmp_path, monkeypatch, capfd):
    """The environment of the program has a token. A folder has the name of the variable, such as `$HF_TOKEN`."""
    if source == "cells":
        parquet(folder)
    else:
        link_folder(folder)
        (folder / "$HF_TOKEN").mkdir()
        (folder / "$HF_TOKEN" / "a.jpg").write_bytes((folder / "red_fox" / "0.jpg").read_bytes())
    options = [
        str(folder), "--output", str(tmp_path / "out"), "--model.path", tiny["sd"], "--filter.path", tiny["clip"],
        "--model.steps", "1", "--filter.policy.name", "all", "--max_attempts", "1", "--limit", "2",
    ]  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", f"hf_{CANARY}")
    for command in ("plan", "augment"):
        status = main([command, *options])
        printed = capfd.readouterr()
        assert CANARY not in printed.out + printed.err
        assert status == 0, printed.err
    assert (tmp_path / "out" / "diffcore.json").is_file()
    assert CANARY.encode() not in everything(tmp_path / "out")


def test_joining_and_pushing_send_no_file_outside_the_dataset(folder, make, tmp_path, hub, client):  # noqa: F811
    path, _ = parquet(folder)
    go(make(tmp_path / "out", source=path, **ALL))
    export(tmp_path / "out", tmp_path / "bare", {"include_originals": False})
    joined = join_originals(tmp_path / "bare", path)
    write_parquet(joined["train"], tmp_path / "joined" / "train.parquet")
    assert CANARY.encode() not in everything(tmp_path / "joined")
    repo = hub.repo_id()
    client(hub_steps.push, tmp_path / "out", repo, "v1.0.0")
    sent = tmp_path / "sent"
    for name, content in hub.content(hub.dataset(repo)).items():
        (sent / name).parent.mkdir(parents=True, exist_ok=True)
        (sent / name).write_bytes(content)
    assert {entry["path"] for entry in manifest(sent)["files"]} <= {
        file.relative_to(sent).as_posix() for file in sent.rglob("*")
    }
    assert CANARY.encode() not in everything(sent)


def test_a_hub_source_reads_its_own_blobs_and_no_other_file(folder, tmp_path, hub, client):  # noqa: F811
    repo = hub.repo_id()
    write_parquet(hostile_dataset(folder), folder / "train.parquet")
    client(hub_steps.hub, "create_repo", repo, repo_type="dataset")
    client(hub_steps.hub, "upload_folder", repo_id=repo, repo_type="dataset", folder_path=str(folder))
    read = client(hostile_hub.load, repo)
    assert [sha is not None for sha in read["sha256"]] == [True] * GOOD + [False] * (len(hostile_paths(folder)) + 1)
    assert CANARY.encode() not in read["published"]


@pytest.mark.parametrize("archived", [False, True], ids=["files", "zip with metadata.csv"])
def test_a_hub_source_of_image_files_is_read_through_its_links(archived, folder, tmp_path, hub, client):  # noqa: F811
    photos = tmp_path / "photos"
    hostile_hub.write_photos(photos)
    upload = hostile_hub.zipped(photos, tmp_path / "upload") if archived else photos
    repo = hub.repo_id()
    client(hub_steps.hub, "create_repo", repo, repo_type="dataset")
    client(hub_steps.hub, "upload_folder", repo_id=repo, repo_type="dataset", folder_path=str(upload))
    read = client(hostile_hub.load, repo)
    assert read["reasons"] == [], read["cells"]
    assert len(read["sha256"]) == 6 and None not in read["sha256"]
    assert read["cells"][0]["bytes"] is None
    assert read["names"] == ["00.jpg", "01.png", "02.jpg"] * 2


def test_a_cell_may_not_name_a_file_of_another_repository(folder, tmp_path, hub, client):  # noqa: F811
    own, other = hub.repo_id(), hub.repo_id()
    photos = tmp_path / "photos"
    hostile_hub.write_photos(photos)
    for repo in (own, other):
        client(hub_steps.hub, "create_repo", repo, repo_type="dataset")
        client(hub_steps.hub, "upload_folder", repo_id=repo, repo_type="dataset", folder_path=str(photos))
    path = client(hostile_hub.load, other)["cells"][0]["path"]
    client(hostile_hub.load, own)
    assert client(hostile_hub.reason, own, path) == "the file is outside the dataset"
    assert client(hostile_hub.reason, other, path) is None


def test_other_columns_of_images_are_read_inside_the_dataset_only(folder):
    """Files inside the roots are read in every column. A nested cell that names another file becomes null."""
    from diffcore_hf.core.image_files import ImageFiles

    ds = hostile_dataset(folder).cast(hostile_dataset(folder).features)
    table = original_rows(DatasetDict(train=ds)["train"], range(len(ds)), images=True, files=ImageFiles((str(folder),)))
    assert CANARY.encode() not in repr(table.to_pydict()).encode()
