"""Routes of commits: upload modes of files, LFS batch and verify, commits, and pull requests."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from testing.hub_double.accounts import Account
from testing.hub_double.repos import Blob, Pull, Repository
from testing.hub_double.routes_repos import faults_of_card, stamp
from testing.hub_double.routing import API, REVISION, WEB, route
from testing.hub_double.wire import Refusal, Reply, Request, json_reply

if TYPE_CHECKING:
    from testing.hub_double.double import Double

LARGE = 10 << 20  # a larger file is never stored as a regular file
LARGE_SUFFIXES = (
    *(".parquet", ".arrow", ".bin", ".safetensors", ".pt", ".pth", ".ckpt", ".npz", ".npy", ".pkl", ".h5", ".onnx"),
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".tiff", ".mp4", ".wav", ".flac", ".zip", ".gz", ".tar", ".zst"),
)
LFS_JSON = "application/vnd.git-lfs+json"


def may_change(hub: Double, request: Request, repository: Repository, revision: str | None) -> Account:
    """Returns the account if it may commit to `revision`; every account may open a pull request (revision None)."""
    account = hub.accounts.of(request.bearer)
    own = [pull.ref for pull in repository.pulls.values() if pull.author == account.name]
    if revision is not None and revision not in own:
        hub.permitted(request, "write", repository.kind, repository.id)
    return account


def target(request: Request, revision: str) -> str | None:
    """Returns the ref that a request changes; None for a new pull request."""
    return None if request.flag("create_pr") else revision


@route("POST", f"{API}/preupload{REVISION}", need="contribute")
def preupload(hub: Double, request: Request, repository: Repository, revision: str) -> Reply:
    may_change(hub, request, repository, target(request, revision))
    existing = repository.find(revision).files
    files = request.json()["files"]
    if len(files) > 256:
        raise Refusal(413, f"{len(files)} files; at most 256 are allowed")
    modes = []
    for file in files:
        path, size = file["path"], file["size"]
        binary = b"\0" in base64.b64decode(file["sample"])
        large = path.lower().endswith(LARGE_SUFFIXES) or size > LARGE or binary
        mode = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if path in existing:
            mode["oid"] = existing[path].sha256 or existing[path].oid
        modes.append(mode)
    return json_reply({"files": modes})


@route("POST", rf"{WEB}\.git/info/lfs/objects/batch", need="contribute")
def lfs_batch(hub: Double, request: Request, repository: Repository) -> Reply:
    if not request.headers.get("content-type", "").startswith(LFS_JSON):
        raise Refusal(415, f"the content type of a batch is {LFS_JSON}")
    batch = request.json()
    if batch.get("operation") != "upload" or batch.get("hash_algo") != "sha256":
        raise Refusal(400, "the double accepts only uploads by sha256")
    may_change(hub, request, repository, batch.get("ref", {}).get("name"))
    objects = []
    for pointer in batch["objects"]:
        sha256, size = pointer["oid"], pointer["size"]
        stored = hub.objects.holds(repository, sha256)
        objects.append(pointer if stored else {**pointer, "actions": _actions(hub, repository, sha256, size)})
    return json_reply({"transfer": "basic", "objects": objects}, **{"Content-Type": LFS_JSON})


def _actions(hub: Double, repository: Repository, sha256: str, size: int) -> dict:
    ticket = hub.objects.create_upload(repository, sha256, size)
    verify = {"href": f"{hub.page(repository.kind, repository.id)}.git/info/lfs/objects/verify"}
    if hub.part_size is None or size <= hub.part_size:
        return {"upload": {"href": f"{hub.storage_url}/upload/{ticket}", "header": {}}, "verify": verify}
    count = -(-size // hub.part_size)
    header = {str(part): f"{hub.storage_url}/part/{ticket}/{part}" for part in range(1, count + 1)}
    header["chunk_size"] = str(hub.part_size)
    return {"upload": {"href": f"{hub.storage_url}/complete/{ticket}", "header": header}, "verify": verify}


@route("POST", rf"{WEB}\.git/info/lfs/objects/verify", need="contribute")
def lfs_verify(hub: Double, request: Request, repository: Repository) -> Reply:
    pointer = request.json()
    if not hub.objects.holds(repository, pointer["oid"]):
        raise Refusal(404, f"object {pointer['oid']} is not stored")
    if hub.objects.size(pointer["oid"]) != pointer["size"]:
        raise Refusal(422, f"object {pointer['oid']} has another size")
    return json_reply({})


@route("POST", f"{API}/commit{REVISION}", need="contribute")
def commit(hub: Double, request: Request, repository: Repository, revision: str) -> Reply:
    ref = target(request, revision)
    account = may_change(hub, request, repository, ref)
    try:
        header, *lines = [json.loads(line) for line in request.body.splitlines()]
    except ValueError as error:
        raise Refusal(400, f"the commit is not valid ndjson: {error}") from None
    if header["key"] != "header" or not header["value"].get("summary"):
        raise Refusal(400, "a commit begins with a header that has a summary")
    description = {
        "parent": header["value"].get("parentCommit"),
        "title": header["value"]["summary"],
        "message": header["value"].get("description", ""),
        "author": account.name,
    }
    base = repository.find(description["parent"] or revision) if ref is None else repository.head(ref)
    changes = changes_of(hub, repository, base.files, lines)
    page = hub.page(repository.kind, repository.id)
    if ref is None:
        pull = repository.open_pull(changes, onto=revision, **description)
        sha, more = pull.head.sha, {"pullRequestUrl": f"{page}/discussions/{pull.number}"}
    else:
        sha, more = repository.commit(changes, ref=ref, **description).sha, {}
    return json_reply({"success": True, "commitOid": sha, "commitUrl": f"{page}/commit/{sha}", **more})


def changes_of(hub: Double, repository: Repository, existing: dict, lines: list[dict]) -> dict[str, Blob | None]:
    """Checks the lines of a commit and returns the changes that they describe; large files must be uploaded before."""
    changes: dict[str, Blob | None] = {}
    for line in lines:
        key, value = line["key"], line["value"]
        path = value["path"]
        if path.startswith("/") or not {"", ".", "..", ".git"}.isdisjoint(path.rstrip("/").split("/")):
            raise Refusal(400, f"Invalid path: {path!r}")
        if key == "file":
            changes[path] = _regular(path, value)
        elif key == "lfsFile":
            changes[path] = _pointer(hub, repository, path, value)
        elif key == "deletedFile":
            changes[path] = None
        elif key == "deletedFolder":
            inside = [name for name in existing if name.startswith(path.rstrip("/") + "/")]
            if not inside:
                raise Refusal(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")
            changes |= dict.fromkeys(inside)
        else:
            raise Refusal(400, f"the double does not support {key!r} in a commit")
    return changes


def _regular(path: str, value: dict) -> Blob:
    if value.get("encoding") != "base64":
        raise Refusal(400, f"{path}: the encoding of a file must be base64")
    try:
        content = base64.b64decode(value["content"], validate=True)
    except binascii.Error as error:
        raise Refusal(400, f"{path}: {error}") from None
    if len(content) > LARGE:
        raise Refusal(400, f"{path}: files larger than 10 MiB belong into large file storage")
    if path == "README.md" and (faults := faults_of_card(content.decode())):
        raise Refusal(400, f"Invalid metadata in README.md: {'; '.join(faults)}")
    return Blob.regular(content)


def _pointer(hub: Double, repository: Repository, path: str, value: dict) -> Blob:
    sha256 = value["oid"]
    if value.get("algo") != "sha256" or not hub.objects.holds(repository, sha256):
        raise Refusal(400, f"Your push was rejected: the large file {path} ({sha256}) was not uploaded")
    size = hub.objects.size(sha256)
    if value.get("size", size) != size:  # A copy of a file in the repository is sent without size.
        raise Refusal(400, f"Your push was rejected: {path} has {size} bytes, not {value['size']}")
    return Blob(size, sha256=sha256)


@route("POST", f"{API}/discussions", need="contribute")
def create_discussion(hub: Double, request: Request, repository: Repository) -> Reply:
    fields, account = request.json(), hub.accounts.of(request.bearer)
    if not fields.get("pullRequest"):
        raise Refusal(400, "the double supports only pull requests")
    description = {"title": fields["title"], "message": fields.get("description", ""), "author": account.name}
    pull = repository.open_pull({}, onto="main", parent=None, **description)
    return json_reply({"num": pull.number, "pullRequest": True})


def _pull(repository: Repository, number: str) -> Pull:
    if not number.isdigit() or int(number) not in repository.pulls:
        raise Refusal(404, f"no discussion {number}")
    return repository.pulls[int(number)]


def _pull_fields(repository: Repository, pull: Pull) -> dict:
    return {
        "num": pull.number,
        "title": pull.title,
        "status": pull.status,
        "author": {"name": pull.author},
        "repo": {"name": repository.id, "type": repository.kind[:-1]},
        "createdAt": stamp(pull.created),
        "isPullRequest": True,
    }


@route("GET", f"{API}/discussions")
def discussions(hub: Double, request: Request, repository: Repository) -> Reply:
    status = request.option("status", "all")
    entries = [_pull_fields(repository, pull) for pull in repository.pulls.values()]
    pulls = [entry for entry in entries if status in ("all", entry["status"])]
    page = int(request.option("p", "0"))
    start = page * hub.page_size
    return json_reply({"discussions": pulls[start : start + hub.page_size], "count": len(pulls), "start": start})


@route("GET", f"{API}/discussions/(?P<number>[^/]+)")
def discussion(hub: Double, request: Request, repository: Repository, number: str) -> Reply:
    pull = _pull(repository, number)
    changes = {"base": f"refs/heads/{pull.onto}", **({"mergeCommitId": pull.merged} if pull.merged else {})}
    more = {"events": [], "filesWithConflicts": [], "changes": changes, "diff": ""}
    return json_reply({**_pull_fields(repository, pull), **more})


@route("POST", f"{API}/discussions/(?P<number>[^/]+)/merge", need="write")
def merge(hub: Double, request: Request, repository: Repository, number: str) -> Reply:
    pull, account = _pull(repository, number), hub.accounts.of(request.bearer)
    if pull.status == "merged":
        raise Refusal(409, f"pull request {number} is merged already")
    commit = repository.merge(pull.number, account.name)
    author = {"name": account.name}
    event = {"id": commit.sha, "type": "status-change", "createdAt": stamp(commit.date), "author": author}
    return json_reply({"newEvent": {**event, "data": {"status": "merged"}}})
