"""Patience: which faults of the Hub pass by themselves, how long they are waited out, and how the others are told.

Owns the waits and the words. The client repeats some requests by itself, but never a commit, and it would wait for
ever for a server that says nothing. Every step that is repeated here may be: what it does is the same the second time
(push.py).
"""

from __future__ import annotations

import errno
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from diffcore_hf.core.hub_cache import SILENCE
from diffcore_hf.publishing.hub.refusal import Refused

log = logging.getLogger(__name__)

T = TypeVar("T")
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before the second, third, ... try."""
ENOUGH = 300.0
"""Seconds after a first fault in which it is tried again: the clients repeat requests by themselves, for minutes."""
_LONGEST = 60.0
_LOCK = threading.Lock()
_listeners = 0  # how many are in `listening` now; uploads ask from threads of their own
_PASSING = (408, 409, 412, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)
_LINES = 3
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{6,}")
_REMEDIES = {
    401: "Log in with `hf auth login`, or set HF_TOKEN to a token that may write",
    403: "Use a token that may write to it, or another name",
    404: "Check the name, and that your token may see it",
}


def patiently(step: str, call: Callable[[], T], waits: Sequence[float] = WAITS) -> T:
    """Call until it succeeds, a fault does not pass, or the waits are used up.

    Args:
        step: what is done, for the log.
        call: may be repeated.
        waits: seconds before each repetition; a longer Retry-After of the Hub counts, up to a minute. None begins
            later than ENOUGH seconds after the first fault.

    Raises:
        Exception: the last one, as the client raised it.
    """
    first = None
    for wait in waits:
        try:
            with listening():
                return call()
        except Exception as error:
            pause = min(max(wait, _retry_after(error)), _LONGEST)
            now = time.monotonic()
            first = now if first is None else first
            if not passes(error) or now - first + pause > ENOUGH:
                raise
            log.warning("%s: %s; again in %g s", step, told(error), pause)
            time.sleep(pause)
    with listening():
        return call()


@contextmanager
def listening() -> Iterator[None]:
    """Give up a connection after SILENCE seconds, in every request of the client that has no limit of its own."""
    global _listeners
    _install()
    with _LOCK:
        _listeners += 1
    try:
        yield
    finally:
        with _LOCK:
            _listeners -= 1


def _install() -> None:
    """See to it that the client's session asks `_limit`, and any that follows it after a lost connection."""
    from huggingface_hub.utils import _http, get_session, set_client_factory

    if _limit in get_session().event_hooks["request"]:
        return
    made_before = _http._GLOBAL_CLIENT_FACTORY  # a person's own, with a proxy or certificates; nothing public tells it

    def made() -> Any:
        session = made_before()
        session.event_hooks["request"].append(_limit)
        return session

    set_client_factory(made)


def _limit(request: Any) -> None:
    """Before a request: where its caller asks for no limit, as some of the client's do, a session's would not count."""
    from huggingface_hub.utils import httpx

    if _listeners and not any((request.extensions.get("timeout") or {}).values()):
        request.extensions = {**request.extensions, "timeout": httpx.Timeout(SILENCE).as_dict()}


def passes(error: BaseException) -> bool:
    """Whether a fault may be gone when the same is tried again: a busy or broken server, a lost connection."""
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    if isinstance(error, (Refused, OfflineModeIsEnabled)):
        return False
    if getattr(error, "may_pass", False):
        return True
    for cause in causes(error):
        if (status := status_of(cause)) is not None:
            return status in _PASSING
        if isinstance(cause, (ConnectionError, TimeoutError, httpx.TransportError)):
            # Xet tells the status in words alone.
            return not re.search(r"\b(400|401|403|404|413|422)\b", str(cause))
    return False


def causes(error: BaseException) -> list[BaseException]:
    """The error, and what it came from: an upload's own error hides the one of the request."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries."""
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def told(error: BaseException) -> str:
    """An error in one line, without a token: what the client says, and the reason that the Hub gave."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = _masked(" ".join(lines[:_LINES]))[:300]
    status = next((f"HTTP {code}: " for one in causes(error) if (code := status_of(one))), "")
    return f"{status}{type(error).__name__}: {text}" if text else type(error).__name__


def _masked(text: str) -> str:
    """Without any token, whole or in part."""
    from huggingface_hub import get_token

    if token := get_token():
        text = text.replace(token, "hf_***")
    return _TOKEN.sub("hf_***", text)


def remedy(error: BaseException, otherwise: str = "Run the same command again") -> str:
    """What a user can do about it."""
    if type(error).__name__ == "OfflineModeIsEnabled":
        return "Unset HF_HUB_OFFLINE"
    if any(_errno(one) in _FULL for one in causes(error)):
        return "Make room on the disk, or set HF_HOME to a folder on another one"
    statuses = [code for one in causes(error) if (code := status_of(one))]
    known = next((_REMEDIES[code] for code in statuses if code in _REMEDIES), None)
    if known is None and statuses and statuses[0] not in _PASSING:
        return "Mend what it names; the same again would be refused again"
    return known or otherwise


def _errno(error: BaseException) -> int | None:
    """Of an error of the operating system; Xet tells it in words alone."""
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told.group(1)) if told else getattr(error, "errno", None)


def _retry_after(error: BaseException) -> float:
    for cause in causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", None) or {}
        # Seconds, or the Hub's own way to say when its quota is full again: `"api";r=0;t=30`.
        found = re.fullmatch(r"\d+", headers.get("Retry-After", "")) or re.search(
            r"(?<=;t=)\d+", headers.get("RateLimit", "")
        )
        if found:
            return float(found.group())
    return 0.0
