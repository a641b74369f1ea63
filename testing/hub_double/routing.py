"""Routing: maps requests to functions and checks the rights for each request.

A route is a regular expression that matches the raw path, so that a quoted slash in a name (`refs%2Fpr%2F1`) does not
split it. The groups are unquoted and passed by name. The route of a repository has the groups `kind` and `id`. The
repository and the rights are checked before the function is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from testing.hub_double.accounts import require
from testing.hub_double.wire import Refusal, Reply, Request

if TYPE_CHECKING:
    from testing.hub_double.double import Double

API = "/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)"
WEB = "(?:/(?P<kind>datasets))?/(?P<id>[^/]+/[^/]+)"  # Pages of models have no prefix.
REVISION = "/(?P<revision>[^/]+)"
HUB, STORAGE = "hub", "storage"


@dataclass(frozen=True)
class Route:
    origin: str
    method: str
    path: re.Pattern
    need: str | None
    function: Callable[..., Reply]


ROUTES: list[Route] = []


def route(method: str, path: str, need: str | None = "read", origin: str = HUB):
    """Registers a function `(hub, request, [repository,] **groups) -> Reply`.

    Args:
        method: HTTP method.
        path: regular expression for the raw path.
        need: required right on the repository: "read", "contribute" or "write"; None for a route without a repository.
        origin: HUB or STORAGE.
    """

    def register(function: Callable[..., Reply]) -> Callable[..., Reply]:
        ROUTES.append(Route(origin, method, re.compile(path), need, function))
        return function

    return register


def dispatch(hub: Double, origin: str, request: Request) -> Reply:
    """Returns the reply to a request; a request without a route is recorded and gets 404."""
    method = "GET" if request.method == "HEAD" else request.method
    for entry in ROUTES:
        if (entry.origin, entry.method) != (origin, method) or not (match := entry.path.fullmatch(request.path)):
            continue
        groups = {name: value and unquote(value) for name, value in match.groupdict().items()}
        try:
            if entry.need is None:
                return entry.function(hub, request, **groups)
            account = hub.accounts.of(request.bearer)
            repository = hub.repositories.get((groups.pop("kind") or "models", groups.pop("id")))
            require(account, entry.need, repository)
            return entry.function(hub, request, repository, **groups)
        except Refusal as refusal:
            return refusal.reply()
    hub.unknown.append(f"{request.method} {request.path} ({origin})")
    return Refusal(404, f"the double has no route for {request.method} {request.path}").reply()
