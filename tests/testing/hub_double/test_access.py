"""Tests of access rights in the Hub double: the clients raise the same errors as with the real Hub."""

from __future__ import annotations

import pytest
from hub_calls import DATASET

from testing.hub_double.double import Double
from testing.hub_double.repos import Blob


def of(token: str | bool, method: str, *args, **kwargs):
    from huggingface_hub import HfApi

    return getattr(HfApi(token=token), method)(*args, **kwargs)


def outcome(token: str | bool, method: str, *args, **kwargs) -> str:
    """Return "ok", or the class of the exception and its HTTP status."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        of(token, method, *args, **kwargs)
        return "ok"
    except HfHubHTTPError as error:
        return f"{type(error).__name__} {error.response.status_code}"


HIDDEN, FORBIDDEN = "RepositoryNotFoundError 404", "HfHubHTTPError 403"


@pytest.mark.parametrize(
    "who, private, reading, writing",
    [
        ("writer", True, "ok", "ok"),
        ("member", True, "ok", FORBIDDEN),
        ("reader", True, "ok", FORBIDDEN),
        ("stranger", True, HIDDEN, HIDDEN),
        ("stranger", False, "ok", FORBIDDEN),
        (False, True, "RepositoryNotFoundError 401", "RepositoryNotFoundError 401"),
        (False, False, "ok", "HfHubHTTPError 401"),
        ("hf_unknown", False, "HfHubHTTPError 401", "HfHubHTTPError 401"),
    ],
)
def test_access_depends_on_the_role_of_the_user(hub, client, who, private, reading, writing):
    repo = hub.repo_id()
    hub.create(repo, private=private)
    token = getattr(hub.accounts, who, who) if who else who
    assert client(outcome, token, "dataset_info", repo) == reading
    assert client(outcome, token, "create_tag", repo, tag="v1", **DATASET) == writing


def load(repo: str, token: str, cache: str) -> int:
    from datasets import load_dataset

    return load_dataset(repo, revision="v1", split="train", token=token, cache_dir=cache).num_rows


def test_a_private_dataset_is_loaded_only_with_the_token_of_a_member(hub, client, tmp_path):
    """Each user has a separate cache, because `datasets` gives every user a private dataset from a shared cache."""
    repo = hub.repo_id()
    hub.create(repo, private=True)
    hub.dataset(repo).commit({"data.csv": Blob.regular(b"a,b\n1,2\n3,4\n")})
    client(of, hub.token, "create_tag", repo, tag="v1", **DATASET)
    assert client(load, repo, hub.accounts.member, str(tmp_path / "member")) == 2
    with pytest.raises(Exception, match="doesn't exist on the Hub"):
        client(load, repo, hub.accounts.stranger, str(tmp_path / "stranger"))


def test_a_user_without_access_can_open_a_pull_request_on_a_public_dataset(hub, either_client, repo):
    content = {"path_or_fileobj": b"\0" * 4000, "path_in_repo": "a.bin", "repo_id": repo, **DATASET}
    assert either_client(outcome, hub.accounts.stranger, "upload_file", **content) == FORBIDDEN
    assert either_client(outcome, hub.accounts.stranger, "upload_file", create_pr=True, **content) == "ok"
    assert hub.dataset(repo).pulls[1].author == "eve"


def test_a_dataset_is_private_if_requested_and_becomes_public_by_its_settings(hub, client):
    repo = hub.repo_id()
    client(of, hub.token, "create_repo", repo, private=True, **DATASET)
    assert hub.dataset(repo).private
    client(of, hub.token, "update_repo_settings", repo, private=False, **DATASET)
    assert client(of, False, "dataset_info", repo).private is False


def test_an_existing_repository_is_not_created_again(hub, client):
    repo = hub.repo_id()
    assert client(outcome, hub.token, "create_repo", repo, **DATASET) == "ok"
    assert client(outcome, hub.token, "create_repo", repo, **DATASET) == "HfHubHTTPError 409"
    assert client(outcome, hub.token, "create_repo", repo, exist_ok=True, **DATASET) == "ok"
    assert client(outcome, hub.accounts.stranger, "create_repo", hub.repo_id(), **DATASET) == FORBIDDEN
    assert client(outcome, hub.token, "delete_repo", repo, **DATASET) == "ok"
    assert client(outcome, hub.token, "dataset_info", repo) == HIDDEN


def test_a_gated_dataset_reports_that_it_is_gated_and_refuses_its_files(hub, client, repo):
    client(of, hub.token, "update_repo_settings", repo, gated="manual", **DATASET)
    assert client(of, hub.accounts.stranger, "dataset_info", repo).gated == "manual"
    wanted = {"repo_id": repo, "filename": ".gitattributes", **DATASET}
    assert client(outcome, hub.accounts.stranger, "hf_hub_download", **wanted) == "GatedRepoError 403"


def test_whoami_returns_the_name_and_the_role_of_the_token(hub, client):
    assert client(of, hub.accounts.member, "whoami")["name"] == "ben"
    assert client(of, hub.accounts.reader, "whoami")["auth"]["accessToken"]["role"] == "read"


def load_main(repo: str):
    from datasets import load_dataset

    return load_dataset(repo)


def test_a_request_to_another_host_is_caught(hub, client, repo):
    """Without a revision `datasets` sends a request to another host, whose name it derives from the endpoint."""
    with pytest.raises(Exception, match="(?i)data files|empty"):
        client(load_main, repo)
    assert any("datasets-server." in line for line in hub.tripwire.caught)
    with pytest.raises(AssertionError, match="a request was sent to another host"):
        hub.verify()
    hub.reset()


def test_a_request_without_a_route_is_reported(hub, client):
    assert client(outcome, hub.token, "list_liked_repos", "ada").startswith("HfHubHTTPError 404")
    with pytest.raises(AssertionError, match="no route for: GET /api/users/ada/likes"):
        hub.verify()
    hub.reset()


def download_with_token(url: str, token: str) -> int:
    from huggingface_hub import get_session

    return get_session().get(url, headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_token_that_is_sent_to_the_storage_origin_is_reported(hub, client):
    assert client(download_with_token, f"{hub.storage_url}/cdn/x", hub.token) == 400
    with pytest.raises(AssertionError, match="token was sent to another host: GET /cdn/x"):
        hub.verify()
    hub.reset()


def test_two_doubles_share_no_state(hub):
    with Double() as other:
        other.create("org/name")
        assert other.url != hub.url and not hub.repositories
