"""Retry: decides which failures of the Hub are transient, and retries a step after them.

Owns the backoff. The client retries some requests itself, but never a commit. Every step that is retried here is
idempotent (push.py).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing.hub.client_errors import TRANSIENT_STATUSES, StaleResponse, chain, describe, http_status
from diffcore_hf.publishing.hub.timeouts import request_timeout

log = logging.getLogger(__name__)

Result = TypeVar("Result")
BACKOFF = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before the first, second, ... retry of a step."""
RETRY_WINDOW = 300.0
"""Retries start only within this number of seconds after the first failure. The limit is necessary, because the client
itself also retries a request for minutes."""
_LONGEST_PAUSE = 60.0


def retry(step: str, call: Callable[[], Result], backoff: Sequence[float] = BACKOFF) -> Result:
    """Call a function and retry it after transient failures.

    Args:
        step: name of the step, for the log.
        call: an idempotent function.
        backoff: seconds before each retry. If the Hub sends a longer Retry-After, that time is used, up to a minute. No
            retry starts later than RETRY_WINDOW seconds after the first failure.

    Raises:
        Exception: the exception of the last call, unchanged.
    """
    first_failure = None
    for seconds in backoff:
        try:
            with request_timeout():
                return call()
        except Exception as error:  # Raised again below unless it is transient.
            pause = min(max(seconds, _retry_after(error)), _LONGEST_PAUSE)
            now = time.monotonic()
            first_failure = now if first_failure is None else first_failure
            if not is_transient(error) or now - first_failure + pause > RETRY_WINDOW:
                raise
            log.warning("%s: %s; retrying in %g s", step, describe(error), pause)
            time.sleep(pause)
    with request_timeout():
        return call()


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed later: a busy or failing server, or a lost connection."""
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # not in its __all__

    if isinstance(error, (UserError, OfflineModeIsEnabled)):
        return False
    if isinstance(error, StaleResponse):
        return True
    for cause in chain(error):
        if (status := http_status(cause)) is not None:
            return status in TRANSIENT_STATUSES
        if isinstance(cause, (ConnectionError, TimeoutError, httpx.TransportError)):
            # Errors of Xet have the HTTP status only in their message.
            return not re.search(r"\b(400|401|403|404|413|422)\b", str(cause))
    return False


def _retry_after(error: BaseException) -> float:
    """Return the seconds to wait from the header Retry-After, or from `t` in RateLimit (`"api";r=0;t=30`); else 0."""
    for cause in chain(error):
        headers = getattr(getattr(cause, "response", None), "headers", None) or {}
        seconds = re.fullmatch(r"\d+", headers.get("Retry-After", "")) or re.search(
            r"(?<=;t=)\d+", headers.get("RateLimit", "")
        )
        if seconds:
            return float(seconds.group())
    return 0.0
