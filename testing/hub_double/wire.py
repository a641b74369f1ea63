"""Wire: the records of the protocol: requests, replies, refusals and ranges of bytes.

Owns HTTP and the format of the Hub's errors. Has no sockets (server.py) and no state.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Request:
    """One complete request. `path` is raw: it is quoted and has no query."""

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
        """Returns the token of the Authorization header."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" else None


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An error reply of the Hub: a status, a message, and the code from which clients choose their exception."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict | None = None, **more):
        super().__init__(message)
        self.status, self.message, self.code, self.headers, self.more = status, message, code, headers or {}, more

    def reply(self) -> Reply:
        headers = {"X-Error-Message": " ".join(self.message.split()).encode("ascii", "replace").decode()}
        if self.code:
            headers["X-Error-Code"] = self.code
        return json_reply({"error": self.message, **self.more}, self.status, **headers, **self.headers)


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    """Returns `value` as a reply in JSON."""
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def ranged(content: bytes, request: Request, **headers: str) -> Reply:
    """Returns a reply with `content`, or with the part that a Range header requests (status 206).

    Raises:
        Refusal: status 416 if the requested part is outside of the content.
    """
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    requested = request.headers.get("range")
    if requested is None:
        return Reply(200, content, headers)
    first, last = span(requested, len(content))
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Reply(206, content[first : last + 1], headers)


def span(requested: str, size: int) -> tuple[int, int]:
    """Returns first and last byte (inclusive) of `bytes=a-b`, `bytes=a-` or `bytes=-n`, limited to `size` bytes."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", requested)
    if match is None or match.groups() == ("", ""):
        raise Refusal(400, f"cannot read the range {requested!r}")
    start, end = match.groups()
    first = int(start) if start else max(0, size - int(end))
    last = min(int(end), size - 1) if start and end else size - 1
    if first > last:
        raise Refusal(416, f"{requested} of {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return first, last
