"""Tests of data files: a file that a card or a link names is read only if it belongs to the dataset."""

from __future__ import annotations

import os
import shutil

import hostile_hub
import pytest
from datasets import ClassLabel, Dataset, Features, Image
from datasets import config as datasets_config
from small_photos import picture

from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.loading import load_splits
from testing import hub_steps
from testing.hub_double.fixtures import client, hub  # noqa: F401 (fixtures)


def write_rows(file, count=4):
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": picture(row % 2, row), "path": None} for row in range(count)]
    features = Features({"image": Image(), "label": ClassLabel(names=["ant", "bee"])})
    Dataset.from_dict({"image": cells, "label": [row % 2 for row in range(count)]}, features=features).to_parquet(
        str(file)
    )


def write_card(folder, key, value):
    (folder / "README.md").write_text(f'---\nconfigs:\n- config_name: default\n  {key}: "{value}"\n---\n')


@pytest.fixture
def folder(tmp_path):
    write_rows(tmp_path / "outside" / "private.parquet", 6)
    write_rows(tmp_path / "data" / "train.parquet")
    return tmp_path / "data"


NAMED_BY_CARD = {
    "absolute": ("data_files", "{outside}/private.parquet"),
    "dots": ("data_files", "../outside/private.parquet"),
    "inner dots": ("data_files", "sub/../../outside/*.parquet"),
    "file URL": ("data_files", "file://{outside}/private.parquet"),
    "local URL": ("data_files", "local://{outside}/private.parquet"),
    "folder": ("data_dir", "../outside"),
}


@pytest.mark.parametrize("section", ["source", "data"])
@pytest.mark.parametrize("case", NAMED_BY_CARD)
def test_a_card_that_names_a_data_file_outside_the_folder_is_refused(case, section, folder):
    (folder / "sub").mkdir()
    key, value = NAMED_BY_CARD[case]
    write_card(folder, key, value.format(outside=folder.parent / "outside"))
    with pytest.raises(UserError, match=r"private\.parquet', which is outside the folder\. Copy the file into"):
        load_splits(str(folder), None, None, None, section=section)


def test_the_remedy_for_a_card_with_files_outside_the_folder_works(folder):
    write_card(folder, "data_files", "../outside/private.parquet")
    shutil.copy(folder.parent / "outside" / "private.parquet", folder)
    write_card(folder, "data_files", "private.parquet")
    assert len(load_source(SourceConfig(str(folder))).rows) == 6


def test_a_linked_data_file_outside_the_folder_needs_the_option(folder):
    (folder / "train.parquet").unlink()
    write_rows(folder / "test.parquet")
    (folder / "train.parquet").symlink_to(folder.parent / "outside" / "private.parquet")
    with pytest.raises(UserError, match=r"train\.parquet', a link .* Use --source\.follow_links outside"):
        load_source(SourceConfig(str(folder)))
    assert len(load_source(SourceConfig(str(folder), follow_links="outside")).rows) == 6
    with pytest.raises(UserError, match=r"train\.parquet', a link .* Copy the file into the folder"):
        load_splits(str(folder), None, None, None, section="data")


def test_a_pattern_of_the_user_may_name_files_outside_the_folder(folder):
    splits, _ = load_splits(str(folder), None, f"{folder.parent}/outside/*.parquet", None, section="source")
    assert len(splits["train"]) == 6


def test_a_hub_snapshot_may_link_to_its_own_blobs(folder):
    snapshot = folder.parent / "datasets--a--b" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    write_rows(snapshot.parent.parent / "blobs" / "1234")
    (snapshot / "train.parquet").symlink_to("../../blobs/1234")
    splits, _ = load_splits(str(snapshot), None, None, None, section="data")
    assert len(splits["train"]) == 4


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml", "dataset_infos.json"])
def test_a_card_that_is_too_large_or_no_regular_file_is_refused(name, folder):
    with open(folder / name, "w") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=f"contains '{name}', which is not a regular file of at most 16 MiB. Remove it"):
        load_source(SourceConfig(str(folder)))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    if name == ".huggingface.yaml":
        with pytest.raises(UserError, match="not a regular file"):
            load_source(SourceConfig(str(folder)))
        (folder / name).unlink()
    assert len(load_source(SourceConfig(str(folder))).rows) == 4


def test_a_card_on_the_hub_names_only_files_of_its_repository(folder, hub, client):  # noqa: F811
    own, other = hub.repo_id(), hub.repo_id()
    private = str(folder.parent / "outside")
    for repo, files in ((other, private), (own, str(folder))):
        client(hub_steps.hub, "create_repo", repo, repo_type="dataset")
        client(hub_steps.hub, "upload_folder", repo_id=repo, repo_type="dataset", folder_path=files)
    for pattern in (f"{private}/private.parquet", f"hf://datasets/{other}/private.parquet"):
        write_card(folder, "data_files", pattern)
        client(hub_steps.hub, "upload_folder", repo_id=own, repo_type="dataset", folder_path=str(folder))
        with pytest.raises(UserError, match="Data files don't belong to|which is not a file of this repository"):
            client(hostile_hub.load, own)
    write_card(folder, "data_files", "*.parquet")
    client(hub_steps.hub, "upload_folder", repo_id=own, repo_type="dataset", folder_path=str(folder))
    assert len(client(hostile_hub.load, own)["sha256"]) == 4


def test_the_error_for_a_cache_that_cannot_be_created_names_the_environment_variable(folder, monkeypatch):
    (folder.parent / "file").write_text("")
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", str(folder.parent / "file" / "cache"))
    with pytest.raises(
        UserError, match=r"cannot be created \(Not a directory\)\. Set the environment variable HF_HOME"
    ):
        load_splits(str(folder), None, None, None, section="data")
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", str(folder.parent / "cache"))
    assert load_splits(str(folder), None, None, None, section="data")


def test_the_error_for_files_with_different_columns_names_the_reason(folder):
    Dataset.from_dict({"other": [1]}).to_parquet(str(folder / "train-2.parquet"))
    with pytest.raises(UserError, match="Couldn't cast because column names don't match. Use another"):
        load_splits(str(folder), None, None, None, section="source")
