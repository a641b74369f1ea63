"""Exceptions with the same types and attributes as those of the client of the Hub."""

from __future__ import annotations

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

REQUEST = httpx.Request("POST", "http://127.0.0.1/api")


def http_error(status: int, **headers: str) -> HfHubHTTPError:
    """Return the error of the client for a response with `status`. The message of the error has an access token."""
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return HfHubHTTPError(f"{status} for hf_abcdefGHIJKL", response=response)


def caused_by(error: Exception, cause: Exception) -> Exception:
    """Return the error with a cause, as after `raise error from cause`."""
    error.__cause__ = cause
    return error
