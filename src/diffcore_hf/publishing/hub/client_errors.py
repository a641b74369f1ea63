"""Client errors: turns failures of the Hub, of its client and of the disk into one line with a remedy.

Owns the texts and the rule that decides which exceptions are such failures. Every other exception is a bug and keeps
its traceback. Does not decide which failures are retried (retry.py).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.publishing.hub.timeouts import request_timeout

TRANSIENT_STATUSES = (408, 409, 412, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)
"""HTTP statuses after which the same request may succeed."""
_CLIENT_PACKAGES = ("huggingface_hub", "hf_xet", "httpx", "httpx2", "httpcore", "httpcore2", "fsspec", "pyarrow")
_BUGS = (TypeError, AttributeError, NameError, AssertionError, NotImplementedError)
_MAX_LINES, _MAX_CHARACTERS = 3, 300
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{6,}")
_REMEDIES = {
    401: "Log in with `hf auth login`, or set HF_TOKEN to a token with write access",
    403: "Use a token with write access to the repository, or another repository name",
    404: "Check the name, and that your token has access to it",
}


class StaleResponse(Exception):
    """Raised when the Hub does not yet return the content that was sent; a new commit may be visible only later."""


@contextmanager
def as_user_error(what: str, otherwise: str = "Run the same command again") -> Iterator[None]:
    """Turn a failure of the Hub or its client into a UserError of one line; other exceptions are raised unchanged.

    Args:
        what: name of the action that failed; the line starts with it.
        otherwise: remedy for a failure that has no remedy of its own.
    """
    try:
        with request_timeout():
            yield
    except UserError:
        raise
    except Exception as error:
        if not is_client_error(error):
            raise
        raise UserError(f"{what}: {describe(error)}. {remedy(error, otherwise)}") from error


def is_client_error(error: BaseException) -> bool:
    """Return whether an exception is a failure of the Hub, its client, the network or the disk.

    Most failures are an OSError or an error of the HTTP library. For a malformed response the client also raises
    ValueError, KeyError and RuntimeError, but so do bugs of this package. Such an error is a failure of the client only
    if a package of the client raised it.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # not in its __all__

    if isinstance(error, (StaleResponse, OSError, httpx.HTTPError)):
        return True
    return not isinstance(error, _BUGS) and _raising_package(error) in _CLIENT_PACKAGES


def _raising_package(error: BaseException) -> str | None:
    """Return the package of the innermost frame that belongs to this package or to the client; None if there is
    none."""
    package, traceback = None, error.__traceback__
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__")).partition(".")[0]
        if name == "diffcore_hf" or name in _CLIENT_PACKAGES:
            package = name
        traceback = traceback.tb_next
    return package


def chain(error: BaseException) -> list[BaseException]:
    """Return the error and its causes, outermost first; the cause of a failed upload is the failed request."""
    errors: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in errors:
        errors.append(following)
        following = following.__cause__ or following.__context__
    return errors


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status of the response that belongs to an error; None if there is none."""
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def describe(error: BaseException) -> str:
    """Return one line that describes an error: HTTP status, message, and the message of its cause. Tokens are
    masked."""
    errors = chain(error)
    status = next((f"HTTP {code}: " for cause in errors if (code := http_status(cause))), "")
    text = _message(error)
    cause = _message(next((cause for cause in errors if http_status(cause)), errors[-1]))
    if cause and cause not in text:
        text = f"{text} ({cause})" if text else cause
    return f"{status}{text or innermost_cause(error)}".rstrip(".")


def _message(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _masked(" ".join(lines[:_MAX_LINES]))[:_MAX_CHARACTERS]


def _masked(text: str) -> str:
    """Return the text with every token replaced."""
    from huggingface_hub import get_token

    if token := get_token():
        text = text.replace(token, "hf_***")
    return _TOKEN.sub("hf_***", text)


def remedy(error: BaseException, otherwise: str = "Run the same command again") -> str:
    """Return the remedy for an error; it is `otherwise` if the same command may succeed later."""
    if type(error).__name__ == "OfflineModeIsEnabled":
        return "Unset HF_HUB_OFFLINE"
    if any(_errno(cause) in _DISK_FULL for cause in chain(error)):
        return "Free space on the disk, or set HF_HOME to a folder on another disk"
    statuses = [code for cause in chain(error) if (code := http_status(cause))]
    known = next((_REMEDIES[code] for code in statuses if code in _REMEDIES), None)
    if known is None and statuses and statuses[0] not in TRANSIENT_STATUSES:
        return "The Hub refused this request; fix the problem named above before you try again"
    return known or otherwise


def _errno(error: BaseException) -> int | None:
    """Return the error number of the operating system; for errors of Xet it is parsed from the message."""
    in_message = re.search(r"\(os error (\d+)\)", str(error))
    return int(in_message.group(1)) if in_message else getattr(error, "errno", None)
