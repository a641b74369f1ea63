"""Timeouts: a read timeout for requests of the Hub's client that would otherwise wait for ever.

Owns the hook on the client's session. Does not retry anything (retry.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffcore_hf.core.hub_cache import HUB_TIMEOUT

_LOCK = threading.Lock()
_active = 0
"""Number of `request_timeout` contexts that are open; uploads send requests from threads of their own."""


@contextmanager
def request_timeout() -> Iterator[None]:
    """Time out after HUB_TIMEOUT seconds without a byte, in every request of the client that sets no timeout itself."""
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

    The client replaces its session after a lost connection, so a hook on the present session alone would be lost in
    the middle of a retried request. A factory is therefore needed. It has to call the factory that is set now, because
    a user may have set one with a proxy or certificates, and the client has no public function that returns it.
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
