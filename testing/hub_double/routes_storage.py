"""Routes of the storage origin: the LFS bucket, the CDN and the Xet server (CAS).

The storage of the real Hub is on other hosts. Its requests have no token of the Hub: links contain tickets, and the Xet
server has its own tokens.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from testing.hub_double.routing import STORAGE, route
from testing.hub_double.wire import Refusal, Reply, Request, json_reply, ranged

if TYPE_CHECKING:
    from testing.hub_double.double import Double

HASH = "(?P<name>[0-9a-f]{64})"


@route("PUT", "/upload/(?P<ticket>[^/]+)", need=None, origin=STORAGE)
def upload(hub: Double, request: Request, ticket: str) -> Reply:
    hub.objects.store(hub.objects.upload(ticket), request.body)
    return Reply(200)


@route("PUT", r"/part/(?P<ticket>[^/]+)/(?P<number>\d+)", need=None, origin=STORAGE)
def upload_part(hub: Double, request: Request, ticket: str, number: str) -> Reply:
    hub.objects.upload(ticket).parts[int(number)] = request.body
    return Reply(200, headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


@route("POST", "/complete/(?P<ticket>[^/]+)", need=None, origin=STORAGE)
def complete(hub: Double, request: Request, ticket: str) -> Reply:
    upload, fields = hub.objects.upload(ticket), request.json()
    listed = {part["partNumber"]: part["etag"].strip('"') for part in fields["parts"]}
    stored = {number: hashlib.md5(part).hexdigest() for number, part in upload.parts.items()}
    if fields["oid"] != upload.sha256 or listed != stored:
        raise Refusal(400, "the listed parts are not the uploaded ones")
    hub.objects.store(upload, b"".join(upload.parts[number] for number in sorted(upload.parts)))
    return json_reply({})


@route("GET", "/cdn/(?P<ticket>[^/]+)", need=None, origin=STORAGE)
def download(hub: Double, request: Request, ticket: str) -> Reply:
    sha256 = hub.objects.download(ticket)
    return ranged(hub.objects.read(sha256), request, ETag=f'"{sha256}"')


@route("GET", "/v1/chunks/.+", need=None, origin=STORAGE)
@route("POST", "/v2/shards", need=None, origin=STORAGE)
@route("GET", "/v2/reconstructions/.+", need=None, origin=STORAGE)
def not_offered(hub: Double, request: Request) -> Reply:
    # These routes remove duplicates between users, or replace the routes below. The client works without them.
    raise Refusal(404, "not offered")


@route("POST", "/v1/telemetry", need=None, origin=STORAGE)
def telemetry(hub: Double, request: Request) -> Reply:
    return Reply(200)


@route("POST", f"/v1/xorb-grants/default/{HASH}", need=None, origin=STORAGE)
def grant_xorb(hub: Double, request: Request, name: str) -> Reply:
    """Creates a ticket for a xorb, the first of three steps. The reply has no link if the xorb is stored already."""
    if not hub.grants:
        return not_offered(hub, request)
    hub.granted(request, "write")
    if name in hub.objects.xet.xorbs:
        return json_reply({})
    ticket = hub.objects.expect_xorb(name, request.json()["length"])
    link = {"method": "PUT", "url": f"{hub.storage_url}/xorb-upload/{ticket}", "headers": {}}
    return json_reply({"id": ticket, **link}, 201)


@route("PUT", "/xorb-upload/(?P<ticket>[^/]+)", need=None, origin=STORAGE)
def upload_xorb(hub: Double, request: Request, ticket: str) -> Reply:
    hub.objects.take_xorb(ticket, request.body)
    return Reply(200)


@route("POST", f"/v1/xorb-commits/default/{HASH}/grant/(?P<ticket>[^/]+)", need=None, origin=STORAGE)
def commit_xorb(hub: Double, request: Request, name: str, ticket: str) -> Reply:
    hub.granted(request, "write")
    return json_reply({"was_inserted": hub.objects.commit_xorb(name, ticket)})


@route("POST", f"/v1/xorbs/default/{HASH}", need=None, origin=STORAGE)
def add_xorb(hub: Double, request: Request, name: str) -> Reply:
    hub.granted(request, "write")
    return json_reply({"was_inserted": hub.objects.xet.add_xorb(name, request.body)})


@route("POST", "/v1/shards", need=None, origin=STORAGE)
def add_shard(hub: Double, request: Request) -> Reply:
    hub.granted(request, "write")
    hub.objects.xet.add_shard(request.body)
    return json_reply({"result": 1})


@route("GET", f"/v1/reconstructions/{HASH}", need=None, origin=STORAGE)
def reconstruction(hub: Double, request: Request, name: str) -> Reply:
    hub.granted(request, "read")
    plan = hub.objects.xet.reconstruction(name, request.headers.get("range"), f"{hub.storage_url}/xorbs")
    return json_reply(plan)


@route("GET", f"/xorbs/{HASH}", need=None, origin=STORAGE)
def read_xorb(hub: Double, request: Request, name: str) -> Reply:
    if name not in hub.objects.xet.xorbs:
        raise Refusal(404, f"no xorb {name}")
    return ranged(hub.objects.xet.xorbs[name], request)
