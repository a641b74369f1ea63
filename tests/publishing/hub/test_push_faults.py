"""Tests of pushes with faults of the Hub: the version is complete or unchanged, and the next push completes it.

The tables here have one row for each step. `make faults` runs the whole table (benchmarks/faults.py).
"""

from __future__ import annotations

import pytest

from testing import hub_steps as steps
from testing.enlarged import enlarged
from testing.hub_double.client import Client
from testing.hub_double.faults import STEPS, Cut, LostReply, Reset, ResetMidBody, Silence, Status

PASSING = {
    "info": Status(500),
    "refs": Status(503),
    "tree": Reset(),
    "preupload": Status(429, {"Retry-After": "0"}),
    "batch": Reset(),
    "upload": LostReply(),
    "verify": Status(500),
    "commit": LostReply(),
    "tag": LostReply(),
    "resolve": Reset(),
}
CUT = ("upload", "commit", "preupload")  # fmt: skip


def is_complete(hub, client, repo, finished) -> bool:
    """Return whether the version equals the local folder."""
    same = client(steps.rows, repo, "v1.0.0") == client(steps.rows, str(finished))
    return same and client(steps.call, "verify", f"{repo}@v1.0.0") == []


@pytest.mark.parametrize("number, step", enumerate(PASSING, 100))
def test_a_transient_fault_is_retried(hub, client, finished, tmp_path, number, step):
    # The added bytes are new, so Xet has to send them.
    repo, out = hub.repo_id(), enlarged(finished, tmp_path / "out", number)
    client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
    rule = hub.faults.add(*STEPS[step], PASSING[step])
    client(steps.push, out, repo, "v1.0.0")
    assert rule.hits == 1 and client(steps.call, "verify", f"{repo}@v1.0.0") == []


@pytest.mark.parametrize("number, step", enumerate(CUT, 500))
def test_a_request_that_is_cut_is_sent_again(hub, client, finished, tmp_path, number, step):
    repo, out = hub.repo_id(), enlarged(finished, tmp_path / "out", number)
    rule = hub.faults.add(*STEPS[step], ResetMidBody(100))
    client(steps.push, out, repo, "v1.0.0")
    assert rule.hits == 1 and client(steps.call, "verify", f"{repo}@v1.0.0") == []


@pytest.mark.parametrize("fault", [Status(500), LostReply()], ids=["500", "reply lost"])
def test_a_transient_fault_while_creating_the_repository_is_retried(hub, client, finished, fault):
    repo = hub.repo_id()
    rule = hub.faults.add(*STEPS["create"], fault)
    assert client(steps.push, finished, repo, "v1.0.0")["private"] is True
    assert rule.hits == 1 and is_complete(hub, client, repo, finished)


@pytest.mark.parametrize("step", ["commit", "tag", "refs"])
def test_a_permanent_fault_gives_a_one_line_error_and_the_next_push_completes(hub, client, finished, step):
    repo = hub.repo_id()
    client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
    hub.faults.add(*STEPS[step], Status(500), times=None)
    with pytest.raises(ValueError, match=r"^push org/.* v1.0.0: HTTP 500: .*run the same command again") as caught:
        client(steps.push, finished, repo, "v1.0.0")
    assert "\n" not in str(caught.value) and not hub.dataset(repo).tags
    hub.faults.clear()
    hub.log.clear()
    client(steps.push, finished, repo, "v1.0.0")
    assert hub.log.uploaded() == 0 or step == "refs"  # bytes that the Hub has stored are not sent again
    assert is_complete(hub, client, repo, finished)


@pytest.mark.parametrize("number, step", enumerate(["info", "write-token", "xorb", "shard", "commit", "tag"]))
def test_a_transient_fault_is_retried_over_xet(hub, xet_client, finished, tmp_path, number, step):
    repo, out = hub.repo_id(), enlarged(finished, tmp_path / "out", number)
    rule = hub.faults.add(*STEPS[step], Status(500))
    xet_client(steps.push, out, repo, "v1.0.0")
    assert rule.hits == 1 and xet_client(steps.call, "verify", f"{repo}@v1.0.0") == []


@pytest.mark.parametrize("number, step", enumerate(["info", "tree", "batch", "commit", "tag"], 200))
def test_a_request_without_a_reply_times_out_and_is_retried(hub, client, finished, tmp_path, number, step):
    repo, out = hub.repo_id(), enlarged(finished, tmp_path / "out", number)
    client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
    rule = hub.faults.add(*STEPS[step], Silence(60))
    client(steps.push, out, repo, "v1.0.0", 0.3)
    silent = [entry.status for entry in hub.log.select() if entry.fault == "Silence"]
    assert silent == [None], "the client closed the silent connection before a reply came"
    assert rule.hits == 1 and client(steps.call, "verify", f"{repo}@v1.0.0") == []


def test_a_server_that_never_replies_gives_a_one_line_error(hub, client, finished):
    hub.faults.add(*STEPS["info"], Silence(30), times=None)
    with pytest.raises(ValueError, match=r"^push org/.* v1.0.0: [Tt]imed out.*run the same command again"):
        client(steps.push, finished, hub.repo_id(), "v1.0.0", timeout=0.1)


def test_a_token_without_write_access_is_not_retried(hub, client, finished):
    repo = hub.repo_id()
    client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
    hub.faults.add(*STEPS["commit"], Status(403), times=None)
    with pytest.raises(ValueError, match=r"HTTP 403: .*Use a token with write access"):
        client(steps.push, finished, repo, "v1.0.0")
    assert hub.log.count("POST", "/commit/") == 1


def test_a_commit_after_the_latest_commit_of_another_client_succeeds(hub, client, finished, second):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    rule = hub.faults.add(*STEPS["commit"], Status(412))
    client(steps.push, second, repo, "v1.1.0")
    assert rule.hits == 1
    assert client(steps.rows, repo, "v1.1.0") == client(steps.rows, str(second))


def test_a_cut_reply_while_reading_back_is_retried(hub, client, finished):
    repo = hub.repo_id()
    hub.faults.add(*STEPS["tree"], Cut(50), skip=1)
    client(steps.push, finished, repo, "v1.0.0")
    assert is_complete(hub, client, repo, finished)


def test_a_failed_download_is_not_reported_as_a_version_with_other_content(hub, finished, client, tmp_path):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    fresh = Client(hub, tmp_path / "home", xet=False)  # the cache of this client is empty
    hub.faults.add("GET|HEAD", "/resolve/", Status(403), times=None)
    with pytest.raises(ValueError, match=r"^push .* v1.0.0: (?!.*other content)") as caught:
        fresh(steps.push, finished, repo, "v1.0.0")
    assert "v1.1.0" not in str(caught.value).partition("in the worker")[0]
    hub.faults.clear()
    fresh(steps.push, finished, repo, "v1.0.0")
    fresh.close()


def test_an_error_of_the_user_is_not_retried(hub, client, finished, second):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    hub.faults.add(*STEPS["refs"], Status(500), times=1)
    hub.log.clear()
    with pytest.raises(ValueError, match="with other content"):
        client(steps.push, second, repo, "v1.0.0")
    assert hub.log.count("GET", "/refs") == 2 and not hub.log.count("POST")


def test_a_push_in_offline_mode_is_not_retried(hub, client, finished):
    with pytest.raises(ValueError, match="Unset HF_HUB_OFFLINE"):
        client(steps.offline_push, finished, hub.repo_id())
