"""Routes of file contents: downloads (resolve), and the tokens for Xet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testing.hub_double.repos import Repository
from testing.hub_double.routes_commits import may_change, target
from testing.hub_double.routing import API, REVISION, WEB, route
from testing.hub_double.wire import Refusal, Reply, Request, json_reply, ranged

if TYPE_CHECKING:
    from testing.hub_double.double import Double


@route("GET", f"{WEB}/resolve{REVISION}/(?P<path>.+)")
def resolve(hub: Double, request: Request, repository: Repository, revision: str, path: str) -> Reply:
    commit = repository.find(revision)
    headers = {"X-Repo-Commit": commit.sha}
    account = hub.accounts.of(request.bearer)
    if repository.gated and (account is None or repository.namespace not in (account.name, *account.organisations)):
        raise Refusal(403 if account else 401, f"Access to {repository.id} is restricted", "GatedRepo", headers)
    if path not in commit.files:
        # The reply names the commit, because the client caches for it that the file does not exist.
        raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound", headers)
    blob = commit.files[path]
    if blob.content is not None:
        return ranged(blob.content, request, ETag=f'"{blob.oid}"', **headers)
    headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256}"'}
    if xet := hub.objects.xet.names.get(blob.sha256):
        auth = f"{hub.url}/api/{repository.kind}/{repository.id}/xet-read-token/{commit.sha}"
        headers |= {"X-Xet-Hash": xet, "Link": f'<{auth}>; rel="xet-auth"'}
    if hub.redirects:
        location = f"{hub.storage_url}/cdn/{hub.objects.create_download(blob.sha256)}"
        return Reply(302, b"", {"Location": location, "ETag": f'"{blob.sha256}"', **headers})
    return ranged(hub.objects.read(blob.sha256), request, ETag=f'"{blob.sha256}"', **headers)


@route("GET", f"{API}/xet-read-token{REVISION}")
def xet_read_token(hub: Double, request: Request, repository: Repository, revision: str) -> Reply:
    repository.find(revision)
    return _token(hub, "read")


@route("GET", f"{API}/xet-write-token{REVISION}", need="contribute")
def xet_write_token(hub: Double, request: Request, repository: Repository, revision: str) -> Reply:
    # For a new pull request the client has no revision, and sends "None".
    ref = target(request, revision)
    may_change(hub, request, repository, ref)
    if ref is not None:
        repository.head(ref)
    return _token(hub, "write")


def _token(hub: Double, scope: str) -> Reply:
    token, expiry = hub.grant(scope)
    names = {"X-Xet-Cas-Url": hub.storage_url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expiry)}
    return json_reply({"casUrl": hub.storage_url, "accessToken": token, "exp": expiry}, **names)
