"""Tests of commits, tags, refs and trees of the Hub double, requested with HfApi over LFS and over Xet."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
from hub_calls import DATASET, api, commit, status


@pytest.mark.parametrize("beforehand", [False, True])
def test_one_commit_adds_and_deletes_files(hub, either_client, repo, beforehand):
    first = {"data/a.parquet": secrets.token_bytes(5000), "data/b.parquet": secrets.token_bytes(5000), "notes/x": b"x"}
    done = either_client(commit, repo, first, beforehand=beforehand)
    second = {"data/c.parquet": secrets.token_bytes(200_000), "README.md": b"# Title\n"}
    gone = ("data/a.parquet", "notes/")
    hub.log.clear()
    again = either_client(commit, repo, second, gone, parent_commit=done.oid, beforehand=beforehand)
    kept = {"data/b.parquet": first["data/b.parquet"]}
    assert hub.log.count("POST", "/commit/") == 1
    assert hub.dataset(repo).find("main").sha == again.oid
    assert {k: v for k, v in hub.content(hub.dataset(repo)).items() if k != ".gitattributes"} == kept | second


def test_a_commit_is_refused_if_another_commit_came_first(hub, either_client, repo):
    stale = hub.dataset(repo).find("main").sha
    hub.dataset(repo).commit({".gitattributes": None})
    before = hub.dataset(repo).refs()
    with pytest.raises(Exception, match="A commit has happened since") as caught:
        either_client(commit, repo, {"a.parquet": secrets.token_bytes(3000)}, parent_commit=stale)
    assert status(caught.value) == 412
    assert hub.dataset(repo).refs() == before


def test_only_one_of_two_simultaneous_commits_succeeds(hub, client, xet_client, repo):
    parent = hub.dataset(repo).find("main").sha

    def commit_with(run) -> object:
        try:
            return run(commit, repo, {"a.parquet": secrets.token_bytes(3000)}, parent_commit=parent).oid
        except Exception as error:
            return status(error)

    with ThreadPoolExecutor() as pool:
        outcomes = set(pool.map(commit_with, [client, xet_client]))
    assert outcomes == {412, hub.dataset(repo).find("main").sha}


def test_bytes_that_are_stored_are_not_sent_again(hub, either_client, repo):
    content = secrets.token_bytes(100_000)
    either_client(commit, repo, {"a.parquet": content})
    assert hub.log.uploaded() >= len(content)
    hub.log.clear()
    either_client(commit, repo, {"b.parquet": content})
    assert hub.log.uploaded() == 0
    assert hub.content(hub.dataset(repo))["b.parquet"] == content


def test_a_commit_can_open_a_pull_request(hub, either_client, repo):
    before = hub.dataset(repo).refs()
    done = either_client(commit, repo, {"a.parquet": secrets.token_bytes(3000)}, create_pr=True)
    assert done.pr_url == f"{hub.url}/datasets/{repo}/discussions/1"
    assert hub.dataset(repo).refs() == before | {"refs/pr/1": done.oid}
    more = either_client(commit, repo, {"b.parquet": secrets.token_bytes(3000)}, revision="refs/pr/1")
    refs = either_client(api, "list_repo_refs", repo, include_pull_requests=True, **DATASET)
    assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests] == [("refs/pr/1", more.oid)]


def test_an_existing_tag_does_not_move_to_another_commit(hub, client, repo):
    first = hub.dataset(repo).find("main").sha
    client(api, "create_tag", repo, tag="v1.0.0", revision=first, **DATASET)
    second = client(commit, repo, {"x": b"x"}).oid
    with pytest.raises(Exception, match="exists already") as caught:
        client(api, "create_tag", repo, tag="v1.0.0", revision=second, **DATASET)
    assert status(caught.value) == 409
    # With exist_ok the client raises no error, and the tag still names the first commit.
    client(api, "create_tag", repo, tag="v1.0.0", revision=second, exist_ok=True, **DATASET)
    assert hub.dataset(repo).find("v1.0.0").sha == first
    client(api, "delete_tag", repo, tag="v1.0.0", **DATASET)
    assert hub.dataset(repo).tags == {}


def test_branches_tags_trees_and_commits_are_listed(hub, client, repo):
    hub.page_size = 2
    client(api, "create_branch", repo, branch="staging/1", **DATASET)
    done = client(commit, repo, {f"data/{n}.txt": b"%d" % n for n in range(5)}, revision="staging/1")
    client(api, "create_tag", repo, tag="v1", revision="staging/1", **DATASET)
    refs = client(api, "list_repo_refs", repo, **DATASET)
    assert {branch.name for branch in refs.branches} == {"main", "staging/1"}
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1", done.oid)]
    top = client(api, "list_repo_tree", repo, revision="v1", expand=True, **DATASET)
    assert [(entry.path, entry.last_commit.title) for entry in top] == [
        (".gitattributes", "initial commit"),
        ("data", "a version"),
    ]
    deep = client(api, "list_repo_tree", repo, revision="v1", recursive=True, **DATASET)
    assert [entry.path for entry in deep] == [".gitattributes", "data", *(f"data/{n}.txt" for n in range(5))]
    history = client(api, "list_repo_commits", repo, revision="staging/1", **DATASET)
    assert [commit.title for commit in history] == ["a version", "initial commit"]
    found = client(api, "get_paths_info", repo, ["data/3.txt", "data", "nowhere"], revision="v1", **DATASET)
    assert [entry.path for entry in found] == ["data/3.txt", "data"]
    assert found[0].blob_id == hub.dataset(repo).files("v1")["data/3.txt"].oid


def test_large_files_are_listed_with_their_hashes(hub, either_client, repo):
    either_client(commit, repo, {"a.parquet": secrets.token_bytes(70_000)})
    blob = hub.dataset(repo).files()["a.parquet"]
    _, listed = either_client(api, "list_repo_tree", repo, **DATASET)
    _, named = either_client(api, "dataset_info", repo, files_metadata=True).siblings
    assert listed.lfs.sha256 == named.lfs.sha256 == blob.sha256
    assert listed.size == named.size == 70_000
    assert listed.blob_id == named.blob_id == blob.oid


def test_a_file_is_deleted_and_deleting_a_missing_file_raises_an_error(hub, client, repo):
    client(commit, repo, {"x": b"x"})
    client(api, "delete_file", "x", repo, **DATASET)
    assert list(hub.dataset(repo).files()) == [".gitattributes"]
    with pytest.raises(Exception, match="Entry Not Found"):
        client(api, "delete_file", "x", repo, **DATASET)
