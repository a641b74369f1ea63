"""Tests of the faults of the Hub double: each fault occurs, and the clients retry or raise as recorded here."""

from __future__ import annotations

import secrets
from types import SimpleNamespace

import pytest
from hub_calls import DATASET, api, commit, download, status

from testing.hub_double import server
from testing.hub_double.faults import STEPS, Cut, Delay, LostReply, Reset, ResetMidBody, Status


def new_file() -> dict[str, bytes]:
    return {"a.parquet": secrets.token_bytes(50_000)}


def shas(hub, repo: str) -> list[str]:
    return [commit.sha for commit in hub.dataset(repo).find("main").history()]


@pytest.mark.parametrize(
    "fault", [Status(500), Status(429, {"Retry-After": "0"}), Reset(), ResetMidBody(1000), LostReply()], ids=repr
)
def test_an_upload_that_fails_once_is_retried(hub, client, repo, fault):
    rule = hub.faults.add(*STEPS["upload"], fault)
    content = new_file()
    client(commit, repo, content)
    assert rule.hits == 1
    assert [entry.fault for entry in hub.log.select("PUT")] == [type(fault).__name__, None]
    assert hub.content(hub.dataset(repo))["a.parquet"] == content["a.parquet"]


@pytest.mark.parametrize("grants", [True, False])
@pytest.mark.parametrize("step", ["write-token", "xorb", "shard"])
@pytest.mark.parametrize("fault", [Status(503), Reset(), LostReply()], ids=repr)
def test_each_xet_step_that_fails_once_is_retried(hub, xet_client, repo, grants, step, fault):
    hub.grants = grants
    rule = hub.faults.add(*STEPS[step], fault)
    content = new_file()
    xet_client(commit, repo, content)
    assert rule.hits == 1
    assert hub.content(hub.dataset(repo))["a.parquet"] == content["a.parquet"]


def test_a_forbidden_upload_fails_without_a_retry(hub, client, xet_client, repo):
    hub.faults.add(*STEPS["upload"], Status(403), times=None)
    hub.faults.add(*STEPS["xorb"], Status(403), times=None)
    before = hub.dataset(repo).refs()
    with pytest.raises(RuntimeError, match="Error while uploading 'a.parquet'"):
        client(commit, repo, new_file())
    with pytest.raises(Exception, match="403") as caught:
        xet_client(commit, repo, new_file())
    assert isinstance(caught.value, OSError | RuntimeError)
    assert hub.dataset(repo).refs() == before


@pytest.mark.parametrize("code, headers", [(500, {}), (503, {}), (429, {"Retry-After": "0"}), (409, {}), (412, {})])
def test_a_refused_commit_is_not_retried(hub, either_client, repo, code, headers):
    before = hub.dataset(repo).refs()
    content = new_file()
    hub.faults.add("POST", "/commit/", Status(code, headers))
    with pytest.raises(Exception, match="a fault was injected") as caught:
        either_client(commit, repo, content)
    assert status(caught.value) == code
    assert hub.log.count("POST", "/commit/") == 1
    assert hub.dataset(repo).refs() == before
    hub.log.clear()
    either_client(commit, repo, content)  # the uploaded bytes are still stored
    assert hub.log.uploaded() == 0


@pytest.mark.parametrize("fault", [Reset(), ResetMidBody()], ids=repr)
def test_a_commit_whose_request_is_reset_is_not_applied(hub, either_client, repo, fault):
    hub.faults.add("POST", "/commit/", fault)
    with pytest.raises(Exception, match="(?i)reset|disconnected|read|write") as caught:
        either_client(commit, repo, new_file())
    # The client raises an httpx error, not an HfHubHTTPError or another OSError.
    assert not isinstance(caught.value, OSError)
    assert len(shas(hub, repo)) == 1


def test_a_commit_whose_reply_is_lost_is_applied(hub, either_client, repo):
    rule = hub.faults.add("POST", "/commit/", LostReply())
    content = new_file()
    with pytest.raises(Exception, match="(?i)reset|disconnected|read") as caught:
        either_client(commit, repo, content)
    assert not isinstance(caught.value, OSError)
    assert rule.hits == 1 and len(shas(hub, repo)) == 2
    hub.log.clear()
    assert either_client(commit, repo, content).oid == shas(hub, repo)[0]
    assert hub.log.count("POST", "/commit/") == 0


def test_a_commit_whose_reply_is_cut_is_applied(hub, client, repo):
    hub.faults.add("POST", "/commit/", Cut(10))
    with pytest.raises(Exception, match="(?i)incomplete|closed"):
        client(commit, repo, new_file())
    assert len(shas(hub, repo)) == 2


def test_the_client_waits_for_a_delayed_reply(hub, client, repo, monkeypatch):
    seconds: list[float] = []
    monkeypatch.setattr(server, "time", SimpleNamespace(sleep=seconds.append))
    hub.faults.add("POST", "/commit/", Delay(0.5))
    client(commit, repo, new_file())
    assert seconds == [0.5] and len(shas(hub, repo)) == 2


def test_a_download_whose_reply_is_cut_is_started_again(hub, client, repo):
    content = new_file()
    client(commit, repo, content)
    hub.faults.add("GET", "/resolve/", Cut(20_000))
    assert client(download, repo, "a.parquet") == content["a.parquet"]
    [first, second] = hub.log.select("GET", "/resolve/")
    assert (first.sent, second.sent) == (20_000, 50_000)


def test_a_download_whose_connection_is_reset_fails(hub, client, repo):
    client(commit, repo, new_file())
    hub.faults.add("GET", "/resolve/", ResetMidBody(20_000))
    with pytest.raises(Exception, match="(?i)reset"):
        client(download, repo, "a.parquet")


@pytest.mark.parametrize("step", STEPS)
def test_every_named_step_matches_a_request(hub, client, xet_client, step):
    rule = hub.faults.add(*STEPS[step], Delay(0), times=None)
    for run in (client, xet_client):
        run(publish, hub.repo_id(), new_file())
    assert rule.hits >= 1


def publish(repo: str, content: dict[str, bytes]) -> None:
    from huggingface_hub import HfApi, hf_hub_download

    hf = HfApi()
    hf.create_repo(repo, **DATASET)
    sha = commit(repo, content, parent_commit=hf.dataset_info(repo).sha).oid
    list(hf.list_repo_tree(repo, revision=sha, **DATASET))
    hf.list_repo_refs(repo, **DATASET)
    hf.create_tag(repo, tag="v1.0.0", revision=sha, **DATASET)
    hf_hub_download(repo, "a.parquet", revision="v1.0.0", **DATASET)


def test_a_fault_can_skip_requests_and_can_be_limited_and_cleared(hub, client, repo):
    rule = hub.faults.add("POST", "/tag/", Status(500), skip=1, times=1)
    outcomes = []
    for tag in ("v1", "v2", "v3"):
        try:
            client(api, "create_tag", repo, tag=tag, **DATASET)
            outcomes.append("done")
        except Exception as error:
            outcomes.append(status(error))
    assert outcomes == ["done", 500, "done"] and rule.hits == 1
    hub.faults.add("POST", "/tag/", Status(500), times=None)
    hub.reset()
    hub.create(repo)
    client(api, "create_tag", repo, tag="v1", **DATASET)
