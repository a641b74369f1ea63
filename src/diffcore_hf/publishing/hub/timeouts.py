"""Timeouts: sets a read timeout for requests of the Hub's client that would otherwise wait for ever.

Owns the hook on the client's session. Does not retry requests (retry.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffcore_hf.core.hub_cache import HUB_TIMEOUT

_LOCK = threading.Lock()
_active = 0
"""Number of open `request_timeout` contexts. It is global, because uploads send requests from other threads."""


@contextmanager
def request_timeout() -> Iterator[None]:
    """Let every request without its own timeout fail after HUB_TIMEOUT seconds in which no byte arrives."""
    global _active
    _install_hook()
    with _LOCK:
        _active += 1
    try:
        yield
    finally:
        with _LOCK:
            _active -= 1


def _install_hook() -> None:
    """Add `_set_timeout` to the client's session and to every session that replaces it.

    The client replaces its session after a lost connection, so the hook has to be added by a session factory. The new
    factory calls the previous factory, because a user may have set it for a proxy or certificates. The client has no
    public function that returns the previous factory, so its private variable is read.
    """
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils import _http

    if _set_timeout in get_session().event_hooks["request"]:
        return
    previous_factory = _http._GLOBAL_CLIENT_FACTORY

    def session_with_hook() -> Any:
        session = previous_factory()
        session.event_hooks["request"].append(_set_timeout)
        return session

    set_client_factory(session_with_hook)


def _set_timeout(request: Any) -> None:
    """Set the timeout of a request that has none; some calls of the client pass `timeout=None` explicitly."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # not in its __all__

    if _active and not any((request.extensions.get("timeout") or {}).values()):
        request.extensions = {**request.extensions, "timeout": httpx.Timeout(HUB_TIMEOUT).as_dict()}
