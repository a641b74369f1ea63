"""What goes over the wire, as values: requests, replies, refusals, ranges of bytes.

Knows HTTP and the Hub's way of saying errors; no sockets (server.py), no state.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Request:
    """One request, read completely. `path` is raw: quoted as it came, without the query."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Refusal(400, f"the body is not JSON: {error}") from None

    def option(self, name: str, default: str = "") -> str:
        return parse_qs(self.query).get(name, [default])[0]

    def flag(self, name: str) -> bool:
        return self.option(name).lower() in ("1", "true")

    @property
    def bearer(self) -> str | None:
        """The token of the Authorization header."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" else None


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An error that the Hub says: a status, a message, and the code that the clients tell their exceptions by."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict | None = None, **more):
        super().__init__(message)
        self.status, self.message, self.code, self.headers, self.more = status, message, code, headers or {}, more

    def reply(self) -> Reply:
        headers = {"X-Error-Message": " ".join(self.message.split()).encode("ascii", "replace").decode()}
        if self.code:
            headers["X-Error-Code"] = self.code
        return answer({"error": self.message, **self.more}, self.status, **headers, **self.headers)


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    """`value` as JSON."""
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def ranged(content: bytes, request: Request, **headers: str) -> Reply:
    """`content`, or with 206 the part that a Range header asks for; 416 for a part that is not there."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    asked = request.headers.get("range")
    if asked is None:
        return Reply(200, content, headers)
    first, last = span(asked, len(content))
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Reply(206, content[first : last + 1], headers)


def span(asked: str, size: int) -> tuple[int, int]:
    """First and last byte (inclusive) of `bytes=a-b`, `bytes=a-` or `bytes=-n`, cut at the end of `size` bytes."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if match is None or match.groups() == ("", ""):
        raise Refusal(400, f"cannot read the range {asked!r}")
    start, end = match.groups()
    first = int(start) if start else max(0, size - int(end))
    last = min(int(end), size - 1) if start and end else size - 1
    if first > last:
        raise Refusal(416, f"{asked} of {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return first, last
