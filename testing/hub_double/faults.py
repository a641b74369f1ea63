"""Faults: the errors that tests inject, and the requests into which they are injected.

    hub.faults.add("POST", "/commit/", Status(500), times=2)          # into the first two requests
    hub.faults.add(*STEPS["upload"], LostReply(), skip=1)             # into the second request
    rule = hub.faults.add(*STEPS["tag"], Reset(), times=None)         # into every request
    rule.hits

Rules are tried in order. The first rule that matches the request, and has already skipped `skip` requests, is used. A
rule that was applied `times` times is not used again. server.py applies the faults to the sockets.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Status:
    """An error reply; the request is not applied."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reset:
    """The connection is reset (RST) before the body is read; the request is not applied."""


@dataclass(frozen=True)
class ResetMidBody:
    """The connection is reset (RST) after `after` bytes of the request's body, and the request is not applied.

    For a request without body, the reset is after `after` bytes of the reply.
    """

    after: int = 100


@dataclass(frozen=True)
class LostReply:
    """The request is applied, then the connection is reset without a reply."""


@dataclass(frozen=True)
class Delay:
    """The reply is delayed."""

    seconds: float


@dataclass(frozen=True)
class Silence:
    """There is no reply for some seconds. If the client disconnects in this time, the request is not applied."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """The reply declares its full length, but the connection ends (FIN) after `after` bytes."""

    after: int = 100


# Method and path of each step of publishing. A client that gets no ticket for a xorb sends it with POST.
STEPS = {
    "create": ("POST", "^/api/repos/create"),
    "info": ("GET", r"^/api/(models|datasets)/[^/]+/[^/?]+(/revision/[^/?]+)?(\?|$)"),
    "preupload": ("POST", "/preupload/"),
    "batch": ("POST", "/objects/batch$"),
    "upload": ("PUT", "^/upload/"),
    "verify": ("POST", "/objects/verify$"),
    "write-token": ("GET", "/xet-write-token/"),
    "xorb": ("PUT|POST", "^/(xorb-upload|v1/xorb-grants|v1/xorb-commits|v1/xorbs)/"),
    "shard": ("POST", "^/v1/shards$"),
    "commit": ("POST", "/commit/"),
    "refs": ("GET", "^/api/datasets/[^/]+/[^/]+/refs"),
    "tree": ("GET", "/tree/"),
    "tag": ("POST", "/tag/"),
    "resolve": ("GET|HEAD", "/resolve/"),
}

Fault = Status | Reset | ResetMidBody | LostReply | Delay | Silence | Cut


@dataclass
class Rule:
    """A fault and the requests into which it is injected."""

    method: re.Pattern
    path: re.Pattern
    fault: Fault
    skip: int
    times: int | None
    hits: int = 0  # how often it was applied

    def applies_to(self, method: str, target: str) -> bool:
        """Returns whether the rule matches a request and can still be applied."""
        used_up = self.times is not None and self.hits >= self.times
        return not used_up and bool(self.method.fullmatch(method) and self.path.search(target))


class Faults:
    """The rules of a test, in order."""

    def __init__(self):
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(self, method: str, path: str, fault: Fault, *, skip: int = 0, times: int | None = 1) -> Rule:
        """Injects `fault` into requests whose method matches `method` and whose raw path and query contain `path`.

        Args:
            method, path: regular expressions, e.g. "POST|PUT" and "/commit/main$".
            skip: number of matching requests that pass first.
            fault: the fault.
            times: number of requests, after the skipped ones, into which the fault is injected; None for all.
        """
        rule = Rule(re.compile(method), re.compile(path), fault, skip, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def next_fault(self, method: str, target: str) -> Fault | None:
        """Returns the fault for a request and counts one hit; None if no rule applies."""
        with self._lock:
            for rule in self._rules:
                if rule.applies_to(method, target):
                    if rule.skip:
                        rule.skip -= 1
                        continue
                    rule.hits += 1
                    return rule.fault
        return None
