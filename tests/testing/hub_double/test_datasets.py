"""Tests of common uses of a dataset with the real clients, over LFS and over Xet."""

from __future__ import annotations

import pytest
from hub_calls import DATASET, api, commit
from small_photos import photos


def rows_of(counts: list[int]):
    """Returns images in two splits. Each count is the number of images of one class."""
    from datasets import DatasetDict

    return DatasetDict(train=photos(counts), test=photos([1] * len(counts)))


def cells(dataset) -> list[tuple[bytes, int]]:
    from datasets import Image

    return [(row["image"]["bytes"], row["label"]) for row in dataset.cast_column("image", Image(decode=False))]


def push(repo: str, counts: list[int], **options) -> str:
    return rows_of(counts).push_to_hub(repo, **options).oid


def push_and_tag(repo: str, counts: list[int], tag: str) -> str:
    from huggingface_hub import HfApi

    sha = push(repo, counts)
    HfApi().create_tag(repo, tag=tag, revision=sha, repo_type="dataset")
    return sha


def differences(repo: str, counts: list[int], revision: str, config: str = "default") -> list[str]:
    """Returns the splits whose loaded or streamed rows differ from the pushed rows."""
    from datasets import load_dataset

    pushed = rows_of(counts)
    loaded = load_dataset(repo, config, revision=revision)
    streamed = load_dataset(repo, config, revision=revision, streaming=True)
    assert set(loaded) == set(streamed) == set(pushed)
    return [
        name
        for name, split in pushed.items()
        if not cells(split) == cells(loaded[name]) == cells(streamed[name]) or split.features != loaded[name].features
    ]


def test_the_pushed_data_equals_the_data_that_is_loaded_by_tag(hub, either_client):
    repo = hub.repo_id()
    sha = either_client(push_and_tag, repo, [3, 2], "v1.0.0")
    assert either_client(differences, repo, [3, 2], "v1.0.0") == []
    assert hub.dataset(repo).refs() == {"refs/heads/main": sha, "refs/tags/v1.0.0": sha}
    assert {path for path in hub.content(hub.dataset(repo)) if "parquet" in path} == {
        "data/train-00000-of-00001.parquet",
        "data/test-00000-of-00001.parquet",
    }


def test_files_are_uploaded_with_the_protocol_of_the_client(hub, client, xet_client):
    def numbers_of_uploads():
        return hub.log.count("PUT", "^/upload/"), hub.log.count("POST", "^/v1/shards")

    client(push, hub.repo_id(), [2, 1, 1])
    assert numbers_of_uploads() == (2, 0)
    xet_client(push, hub.repo_id(), [2, 1, 1])
    assert numbers_of_uploads()[0] == 2 and numbers_of_uploads()[1] > 0


def test_pushing_the_same_data_again_makes_no_commit_and_no_upload(hub, either_client):
    repo = hub.repo_id()
    sha = either_client(push, repo, [2, 2])
    hub.log.clear()
    assert either_client(push, repo, [2, 2]) == sha
    assert hub.log.uploaded() == 0
    assert hub.log.count("POST", "/commit/") == 0


def test_a_second_configuration_does_not_change_the_first(hub, either_client):
    repo = hub.repo_id()
    either_client(push, repo, [2, 1])
    either_client(push, repo, [1, 3], config_name="more")
    assert either_client(differences, repo, [2, 1], hub.dataset(repo).find("main").sha) == []
    assert either_client(differences, repo, [1, 3], hub.dataset(repo).find("main").sha, "more") == []


def test_a_pull_request_does_not_change_main_before_it_is_merged(hub, either_client):
    repo = hub.repo_id()
    before = either_client(push, repo, [1, 1])
    either_client(push, repo, [2, 2], create_pr=True)
    assert hub.dataset(repo).refs()["refs/heads/main"] == before
    assert either_client(differences, repo, [2, 2], "refs/pr/1") == []
    either_client(api, "merge_pull_request", repo, 1, **DATASET)
    assert either_client(api, "get_discussion_details", repo, 1, **DATASET).status == "merged"
    assert either_client(differences, repo, [2, 2], hub.dataset(repo).find("main").sha) == []


def test_a_push_to_a_branch_changes_only_the_branch(hub, either_client):
    repo = hub.repo_id()
    either_client(push, repo, [1, 2], revision="staging")
    assert either_client(differences, repo, [1, 2], "staging") == []
    assert list(hub.dataset(repo).files()) == [".gitattributes"]


def card(repo: str, text: str) -> str:
    from huggingface_hub import DatasetCard

    DatasetCard(text).push_to_hub(repo)
    return DatasetCard.load(repo).data.license


def test_a_card_is_pushed_and_loaded(hub, client, repo):
    assert client(card, repo, "---\nlicense: mit\ntags:\n- a\n---\n\n# Title\n") == "mit"
    hub.log.clear()
    with pytest.raises(ValueError, match="line 2 is not valid YAML"):
        client(commit, repo, {"README.md": b"---\nlicense: mit\nunfinished\n---\n\n# Title\n"})
    assert hub.log.count("POST", "/(preupload|commit)/") == 0


def test_a_redirected_download_does_not_send_the_token_to_the_other_origin(hub, either_client):
    repo = hub.repo_id()
    sha = either_client(push, repo, [1, 4])
    hub.redirects = True
    assert either_client(differences, repo, [1, 4], sha) == []
    fetched = hub.log.select("GET", "^/cdn/")
    assert fetched and all("authorization" not in entry.headers for entry in fetched)
    assert all("authorization" in entry.headers for entry in hub.log.select("GET|HEAD", "/resolve/"))
