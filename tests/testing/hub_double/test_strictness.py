"""Tests of requests that the Hub and the double refuse. The tests use plain HTTP, because no client sends them."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request

import pytest

CONTENT = b"a large file"
OID = hashlib.sha256(CONTENT).hexdigest()


def ask(url: str, method: str = "GET", body: bytes | dict | None = None, token: str | None = None, **headers: str):
    """Returns (status, headers, body) of a request, also for an error status."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture
def api(hub, repo):
    """Calls `ask` for a path of the repository, with the token of the writer."""
    return lambda path, *args, **more: ask(f"{hub.url}/api/datasets/{repo}{path}", *args, token=hub.token, **more)


def commit_of(*operations: tuple[str, dict], **header) -> bytes:
    lines = [{"key": "header", "value": {"summary": "a commit", **header}}]
    lines += [{"key": key, "value": value} for key, value in operations]
    return b"\n".join(json.dumps(line).encode() for line in lines)


def file(path: str, content: bytes = b"x") -> tuple[str, dict]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


POINTER = ("lfsFile", {"path": "a.parquet", "algo": "sha256", "oid": OID, "size": len(CONTENT)})


@pytest.mark.parametrize(
    "body, status",
    [
        (commit_of(POINTER), 400),  # the object was not uploaded
        (commit_of(("deletedFile", {"path": "nowhere"})), 404),
        (commit_of(("deletedFolder", {"path": "nowhere"})), 404),
        (commit_of(file("../up")), 400),
        (commit_of(file("/top")), 400),
        (commit_of(file("x", b"\0" * (11 << 20))), 400),
        (commit_of(file("README.md", b"---\nno yaml\n---\n")), 400),
        (commit_of(file("x"), parentCommit="0" * 40), 412),
        (commit_of(file("x"), summary=""), 400),
        (commit_of(("unknown", {"path": "x"})), 400),
        (b"no json", 400),
    ],
)
def test_a_commit_that_is_refused_changes_nothing(hub, repo, api, body, status):
    before = hub.dataset(repo).refs()
    assert api("/commit/main", "POST", body)[0] == status
    assert hub.dataset(repo).refs() == before


@pytest.mark.parametrize("revision", ["nowhere", "v1", "refs%2Fpr%2F1"])
def test_commits_are_possible_only_on_branches_and_pull_requests(hub, repo, api, revision):
    hub.dataset(repo).tags["v1"] = hub.dataset(repo).find("main")
    status, headers, _ = api(f"/commit/{revision}", "POST", commit_of(file("x")))
    assert (status, headers["X-Error-Code"]) == (404, "RevisionNotFound")


def batch(hub, repo: str, oid: str = OID, size: int = len(CONTENT)) -> dict:
    """Returns the reply of the LFS batch request for one object."""
    body = {"operation": "upload", "hash_algo": "sha256", "objects": [{"oid": oid, "size": size}]}
    url = f"{hub.url}/datasets/{repo}.git/info/lfs/objects/batch"
    status, _, reply = ask(url, "POST", body, hub.token, Content_Type="application/vnd.git-lfs+json")
    assert status == 200
    return json.loads(reply)["objects"][0]


def test_an_object_is_accepted_only_with_its_hash_and_belongs_to_one_repository(hub, repo):
    actions = batch(hub, repo)["actions"]
    href, verify = actions["upload"]["href"], actions["verify"]["href"]
    about = {"oid": OID, "size": len(CONTENT)}
    assert ask(href, "PUT", CONTENT[:-1])[0] == 400
    assert ask(href, "PUT", CONTENT[:-1] + b"x")[0] == 400
    assert ask(href + "x", "PUT", CONTENT)[0] == 403  # the link has no valid ticket
    assert ask(verify, "POST", about, hub.token)[0] == 404
    assert ask(href, "PUT", CONTENT)[0] == 200
    assert ask(verify, "POST", about, hub.token)[0] == 200
    assert ask(verify, "POST", about)[0] == 401
    assert ask(verify, "POST", about | {"size": 1}, hub.token)[0] == 422
    assert "actions" not in batch(hub, repo)
    other = hub.repo_id()
    hub.create(other)
    assert "actions" in batch(hub, other)


def test_the_double_sends_ranges_of_a_file(hub, repo, api):
    hub.dataset(repo).files()
    api("/commit/main", "POST", commit_of(file("x", b"0123456789")))
    url = f"{hub.url}/datasets/{repo}/resolve/main/x"
    assert ask(url)[2] == b"0123456789"
    for asked, status, body in [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
    ]:
        got = ask(url, Range=asked)
        assert (got[0], got[2]) == (status, body)
    assert ask(url, Range="bytes=10-12")[0] == 416


def test_a_head_request_returns_the_size_the_commit_and_the_hash(hub, repo, api):
    api("/commit/main", "POST", commit_of(file("x", b"0123456789")))
    status, headers, body = ask(f"{hub.url}/datasets/{repo}/resolve/main/x", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "10")
    assert headers["X-Repo-Commit"] == hub.dataset(repo).find("main").sha
    assert headers["ETag"] == f'"{hub.dataset(repo).files()["x"].oid}"'
    status, headers, _ = ask(f"{hub.url}/datasets/{repo}/resolve/main/y", "HEAD")
    assert (status, headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert headers["X-Repo-Commit"] == hub.dataset(repo).find("main").sha


@pytest.mark.parametrize("name", ["a--b", "a..b", "-a", "a.git", "a b", "a" * 97])
def test_the_double_refuses_the_names_that_the_hub_refuses(hub, name):
    body = {"name": name, "organization": "org", "type": "dataset"}
    assert ask(f"{hub.url}/api/repos/create", "POST", body, hub.token)[0] == 400


def test_xet_requires_its_own_tokens_and_complete_uploads(hub, repo, api):
    name = "0" * 64
    assert ask(f"{hub.storage_url}/v1/xorbs/default/{name}", "POST", b"")[0] == 401
    read, write = (json.loads(api(f"/xet-{scope}-token/main")[2])["accessToken"] for scope in ("read", "write"))
    assert ask(f"{hub.storage_url}/v1/xorbs/default/{name}", "POST", b"", read)[0] == 403
    assert ask(f"{hub.storage_url}/v1/xorbs/default/{name}", "POST", b"\0" * 7, write)[0] == 400
    assert ask(f"{hub.storage_url}/v1/shards", "POST", b"\0" * 50, write)[0] == 400
    assert ask(f"{hub.storage_url}/v1/reconstructions/{name}", token=read)[0] == 404


def test_an_error_of_the_double_itself_fails_the_test(hub, repo, api):
    assert api("/tag/main", "POST", {})[0] == 500  # the request names no tag
    with pytest.raises(AssertionError, match="(?s)the double crashed: POST .*KeyError: 'tag'"):
        hub.verify()
    hub.reset()
