"""Tests of model folders: upload with upload_folder, download with snapshot_download and hf_hub_download."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from hub_calls import api


@pytest.fixture
def files(tmp_path) -> dict[str, bytes]:
    """Writes the folder of a model into `tmp_path` and returns {path: content}."""
    contents = {
        "config.json": b'{"a": 1}',
        "README.md": b"# A model\n",
        "weights/part.bin": secrets.token_bytes(160_000),
        "weights/model.safetensors": secrets.token_bytes(2_500_000),
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return contents


@pytest.fixture
def model(hub) -> str:
    repo_id = hub.repo_id()
    hub.create(repo_id, "models")
    return repo_id


def read(folder: str) -> dict[str, bytes]:
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_an_uploaded_folder_can_be_downloaded_unchanged(hub, either_client, model, files, tmp_path):
    either_client(api, "upload_folder", repo_id=model, folder_path=str(tmp_path))
    attributes = {".gitattributes": hub.content(hub.model(model))[".gitattributes"]}
    assert hub.content(hub.model(model)) == files | attributes
    assert read(either_client(api, "snapshot_download", model)) == files | attributes
    one = either_client(api, "hf_hub_download", model, "weights/part.bin", force_download=True)
    assert Path(one).read_bytes() == files["weights/part.bin"]


def test_a_folder_can_be_uploaded_as_a_pull_request(hub, either_client, model, files, tmp_path):
    before = hub.model(model).refs()
    either_client(api, "upload_folder", repo_id=model, folder_path=str(tmp_path), create_pr=True)
    assert hub.content(hub.model(model), "refs/pr/1").items() > files.items()
    assert {ref: sha for ref, sha in hub.model(model).refs().items() if ref != "refs/pr/1"} == before


def test_large_lfs_files_are_uploaded_in_several_parts(hub, client, model, files, tmp_path):
    hub.part_size = 1_000_000
    client(api, "upload_folder", repo_id=model, folder_path=str(tmp_path))
    assert hub.content(hub.model(model)).items() > files.items()
    assert hub.log.count("PUT", "^/part/") == 3
    assert hub.log.count("PUT", "^/upload/") == 1
