"""Routes of repositories: whoami, creation and deletion, settings, lists of files, branches and tags, cards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from testing.hub_double.accounts import Account
from testing.hub_double.repos import MAIN, Blob, Commit, Repository
from testing.hub_double.routing import API, REVISION, route
from testing.hub_double.wire import Refusal, Reply, Request, json_reply

if TYPE_CHECKING:
    from testing.hub_double.double import Double

NAME = re.compile(r"(?!.*(--|\.\.))(?![-.])[\w.-]{1,96}(?<![-.])(?<!\.git)", re.ASCII)
FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?\n)?---[ \t]*(\r?\n|\Z)", re.DOTALL)
YAML_LINE = re.compile(r"#.*|---|\s+\S.*|- .*|-|[^\s\-'\"][^:]*:(\s.*)?|(\"[^\"]*\"|'[^']*'):(\s.*)?|[\]}],?|")


@route("GET", "/api/agent-harnesses", need=None)
def agent_harnesses(hub: Double, request: Request) -> Reply:
    # A client sends this request once in a new HF_HOME and ignores a failure.
    raise Refusal(404, "not offered")


@route("GET", "/api/whoami-v2", need=None)
def whoami(hub: Double, request: Request) -> Reply:
    account = hub.account(request)
    organisations = [{"type": "org", "name": name, "roleInOrg": role} for name, role in account.organisations.items()]
    token = {"accessToken": {"displayName": "tests", "role": account.role}}
    return json_reply({"type": "user", "name": account.name, "orgs": organisations, "auth": token})


def _named(request: Request, account: Account) -> tuple[str, str, dict]:
    """Returns (kind, id, payload) of a request that names a repository in its body."""
    payload = request.json()
    kind = {"model": "models", "dataset": "datasets"}.get(payload.get("type") or "model")
    if kind is None:
        raise Refusal(400, f"the double does not support repositories of type {payload['type']}")
    return kind, f"{payload.get('organization') or account.name}/{payload['name']}", payload


@route("POST", "/api/repos/create", need=None)
def create(hub: Double, request: Request) -> Reply:
    account = hub.account(request)
    kind, repo_id, payload = _named(request, account)
    namespace, name = repo_id.split("/", 1)
    if not NAME.fullmatch(name):
        raise Refusal(400, f"Invalid repo name: {name}")
    if not account.writes(namespace):
        raise Refusal(403, f"You don't have the rights to create a {kind[:-1]} under the namespace {namespace!r}")
    url = {"url": hub.page(kind, repo_id), "name": repo_id}
    if (kind, repo_id) in hub.repositories:
        raise Refusal(409, f"You already created this {kind[:-1]} repo: {repo_id}", **url)
    private = payload.get("visibility") == "private" or bool(payload.get("private"))
    hub.repositories[kind, repo_id] = Repository(kind, repo_id, account.name, private=private)
    return json_reply(url)


@route("DELETE", "/api/repos/delete", need=None)
def delete(hub: Double, request: Request) -> Reply:
    account = hub.account(request)
    kind, repo_id, _ = _named(request, account)
    hub.permitted(request, "write", kind, repo_id)
    del hub.repositories[kind, repo_id]
    return json_reply({})


@route("PUT", f"{API}/settings", need="write")
def settings(hub: Double, request: Request, repository: Repository) -> Reply:
    new = request.json()
    if "visibility" in new:
        repository.private = new["visibility"] == "private"
    if "gated" in new:
        repository.gated = new["gated"]
    return json_reply({"private": repository.private, "gated": repository.gated})


@route("GET", f"{API}(?:/revision{REVISION})?")
def info(hub: Double, request: Request, repository: Repository, revision: str | None) -> Reply:
    commit = repository.find(revision or MAIN)
    blobs = request.flag("blobs")
    # Only the license of the card is returned, because the standard library has no parser of YAML.
    license_line = re.search(r"^license: *(\S+)", front_matter(commit) or "", re.MULTILINE)
    card = {"license": license_line[1]} if license_line else {}
    return json_reply(
        {
            "id": repository.id,
            "author": repository.namespace,
            "sha": commit.sha,
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "createdAt": stamp(repository.created),
            "lastModified": stamp(commit.date),
            "tags": [f"license:{value}" for value in card.values()],
            "cardData": card,
            "siblings": [
                {"rfilename": path, **(blob_fields(hub, blob, oid="blobId") if blobs else {})}
                for path, blob in sorted(commit.files.items())
            ],
        }
    )


@route("GET", f"{API}/tree{REVISION}(?:/(?P<folder>.+))?")
def tree(hub: Double, request: Request, repository: Repository, revision: str, folder: str | None) -> Reply:
    commit = repository.find(revision)
    within = f"{folder}/" if folder else ""
    if folder and folder not in commit.folders:
        raise Refusal(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    deep = request.flag("recursive")
    paths = [path for path in (*commit.folders, *commit.files) if path.startswith(within)]
    paths = sorted(path for path in paths if deep or "/" not in path[len(within) :])
    start = int(request.option("cursor", "0"))
    page = paths[start : start + hub.page_size]
    entries = [entry(hub, commit, path, expand=request.flag("expand")) for path in page]
    if start + hub.page_size >= len(paths):
        return json_reply(entries)
    query = "&".join(f"{name}={request.option(name)}" for name in ("recursive", "expand") if request.option(name))
    more = f"{hub.url}{request.path}?{query}&cursor={start + hub.page_size}"
    return json_reply(entries, Link=f'<{more}>; rel="next"')


@route("POST", f"{API}/paths-info{REVISION}")
def paths_info(hub: Double, request: Request, repository: Repository, revision: str) -> Reply:
    # This is the only request whose body is a form.
    commit, form = repository.find(revision), parse_qs(request.body.decode())
    known = commit.files.keys() | commit.folders
    expand = form.get("expand", ["false"])[0].lower() == "true"
    return json_reply([entry(hub, commit, path, expand=expand) for path in form.get("paths", []) if path in known])


@route("GET", f"{API}/refs")
def refs(hub: Double, request: Request, repository: Repository) -> Reply:
    def listed(prefix: str, commits: dict[str, Commit]) -> list[dict]:
        return [{"name": n, "ref": f"{prefix}{n}", "targetCommit": c.sha} for n, c in commits.items()]

    listing = {
        "branches": listed("refs/heads/", repository.branches),
        "converts": [],
        "tags": listed("refs/tags/", repository.tags),
    }
    if request.flag("include_prs"):
        listing["pullRequests"] = listed("refs/pr/", {str(n): pull.head for n, pull in repository.pulls.items()})
    return json_reply(listing)


@route("GET", f"{API}/commits{REVISION}")
def commits(hub: Double, request: Request, repository: Repository, revision: str) -> Reply:
    history = list(repository.find(revision).history())
    page = int(request.option("p", "0"))
    shown = history[page * hub.page_size : (page + 1) * hub.page_size]
    entries = [
        {
            "id": commit.sha,
            "title": commit.title,
            "message": commit.message,
            "date": stamp(commit.date),
            "authors": [{"user": commit.author}],
        }
        for commit in shown
    ]
    if (page + 1) * hub.page_size >= len(history):
        return json_reply(entries)
    return json_reply(entries, Link=f'<{hub.url}{request.path}?p={page + 1}>; rel="next"')


@route("POST", f"{API}/branch/(?P<branch>[^/]+)", need="write")
def create_branch(hub: Double, request: Request, repository: Repository, branch: str) -> Reply:
    if branch.startswith("refs/"):
        raise Refusal(400, f"Invalid reference for a branch: {branch}")
    if branch in repository.branches:
        raise Refusal(409, f"Reference already exists: {branch}")
    repository.branches[branch] = repository.find(request.json().get("startingPoint") or MAIN)
    return json_reply({})


@route("DELETE", f"{API}/branch/(?P<branch>[^/]+)", need="write")
def delete_branch(hub: Double, request: Request, repository: Repository, branch: str) -> Reply:
    if branch == MAIN:
        raise Refusal(403, "Cannot delete the default branch")
    if repository.branches.pop(branch, None) is None:
        raise Refusal(404, f"{branch} is not a branch", "RevisionNotFound")
    return json_reply({})


@route("POST", f"{API}/tag{REVISION}", need="write")
def create_tag(hub: Double, request: Request, repository: Repository, revision: str) -> Reply:
    tag = request.json()["tag"]
    if tag in repository.tags:
        raise Refusal(409, f"Tag reference exists already: {tag}")
    repository.tags[tag] = repository.find(revision)
    return json_reply({})


@route("DELETE", f"{API}/tag/(?P<tag>[^/]+)", need="write")
def delete_tag(hub: Double, request: Request, repository: Repository, tag: str) -> Reply:
    if repository.tags.pop(tag, None) is None:
        raise Refusal(404, f"{tag} is not a tag", "RevisionNotFound")
    return json_reply({})


@route("POST", "/api/validate-yaml", need=None)
def validate_yaml(hub: Double, request: Request) -> Reply:
    """Validates a card. No token is needed, and the client reads the body as JSON for every status."""
    content = request.json()["content"]
    if FRONT.match(content) is None:
        return json_reply({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    errors = [{"message": message} for message in faults_of_card(content)]
    return json_reply({"errors": errors, "warnings": []}, 400 if errors else 200)


def faults_of_card(content: str) -> list[str]:
    """Returns the faults of a card's metadata, found line by line, because the standard library cannot parse YAML."""
    front = FRONT.match(content)
    lines = (front[1] or "").splitlines() if front else []
    return [f"line {n} is not valid YAML: {line}" for n, line in enumerate(lines, 1) if not YAML_LINE.fullmatch(line)]


def front_matter(commit: Commit) -> str | None:
    card = commit.files.get("README.md")
    front = card and card.content is not None and FRONT.match(card.content.decode(errors="replace"))
    return front[1] if front else None


def entry(hub: Double, commit: Commit, path: str, *, expand: bool) -> dict:
    """Returns the entry of a file or folder in a list of files; `expand` adds the commit that last changed it."""
    last = {}
    if expand:
        changed = commit
        while changed.parent and _at(changed.parent, path) == _at(commit, path):
            changed = changed.parent
        last = {"lastCommit": {"id": changed.sha, "title": changed.title, "date": stamp(changed.date)}}
    if path not in commit.files:
        return {"type": "directory", "path": path, "size": 0, "oid": commit.folders[path], **last}
    return {"type": "file", "path": path, **blob_fields(hub, commit.files[path], oid="oid"), **last}


def _at(commit: Commit, path: str) -> str | None:
    return commit.files[path].oid if path in commit.files else commit.folders.get(path)


def blob_fields(hub: Double, blob: Blob, *, oid: str) -> dict:
    """Returns the size and the hashes of a file; info and tree have different keys for the hashes."""
    fields = {"size": blob.size, oid: blob.oid}
    if blob.sha256:
        large = "sha256" if oid == "blobId" else "oid"
        fields["lfs"] = {large: blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
        if blob.sha256 in hub.objects.xet.names:
            fields["xetHash"] = hub.objects.xet.names[blob.sha256]
    return fields


def stamp(date) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S.") + f"{date.microsecond // 1000:03d}Z"
