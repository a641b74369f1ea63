"""Faults on demand: which requests, how many of them, what goes wrong.

    hub.faults.add("POST", "/commit/", Status(500), times=2)          # the first two
    hub.faults.add(*STEPS["upload"], LostReply(), skip=1)             # the second one
    rule = hub.faults.add(*STEPS["tag"], Reset(), times=None)         # for ever
    rule.hits

The first rule that matches, has skipped what it shall and is not used up is applied.
What each fault does to the sockets is in server.py.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Status:
    """An error in place of the answer; nothing is applied."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reset:
    """The connection is reset (RST) before the body is read; nothing is applied."""


@dataclass(frozen=True)
class ResetMidBody:
    """RST after this many bytes of the request's body, unapplied; for a request without one, of the reply's."""

    after: int = 100


@dataclass(frozen=True)
class LostReply:
    """The request is applied, then the connection is reset without a reply."""


@dataclass(frozen=True)
class Delay:
    """The request waits, then it is answered."""

    seconds: float


@dataclass(frozen=True)
class Silence:
    """Nothing comes for so long; the request is dropped, unapplied, when the client goes away before."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """The reply declares its full length and ends (FIN) after this many bytes."""

    after: int = 100


# Method and path of each step of publishing. A xorb that cannot be sent in the first way is sent in the other.
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
    method: re.Pattern
    path: re.Pattern
    fault: Fault
    skip: int
    times: int | None
    hits: int = 0  # how often it was applied

    def takes(self, method: str, target: str) -> bool:
        """Whether the rule is for this request, if only to skip it."""
        spent = self.times is not None and self.hits >= self.times
        return not spent and bool(self.method.fullmatch(method) and self.path.search(target))


class Faults:
    def __init__(self):
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(self, method: str, path: str, fault: Fault, *, skip: int = 0, times: int | None = 1) -> Rule:
        """Apply `fault` to the requests whose method is `method` and whose raw path and query `path` is found in.

        Args:
            method, path: regular expressions, e.g. "POST|PUT" and "/commit/main$".
            skip: how many such requests pass unharmed first.
            times: how many are hit after that; None for all.
        """
        rule = Rule(re.compile(method), re.compile(path), fault, skip, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def strike(self, method: str, target: str) -> Fault | None:
        """The fault for a request that has arrived; it counts as one hit."""
        with self._lock:
            for rule in self._rules:
                if rule.takes(method, target):
                    if rule.skip:
                        rule.skip -= 1
                        continue
                    rule.hits += 1
                    return rule.fault
        return None
