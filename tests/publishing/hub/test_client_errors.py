"""Tests of client errors: a failure of the Hub gives a one-line error without a token; a bug keeps its traceback."""

import errno
import json

import pyarrow as pa
import pytest
from client_failures import caused_by, http_error
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.utils import httpx

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing.hub.client_errors import StaleResponse, as_user_error, describe, is_client_error, remedy


def raised(function, *args, **keys) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever it raises)
        function(*args, **keys)
    return caught.value


def raise_it(error):
    raise error


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (http_error(500), True), (httpx.ReadError("reset"), True), (StaleResponse("old"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (raised(pa.array, ["x"], pa.int64()), True),  # a library that the client uses raised the error
        (raised(HfApi().create_commit, "a/b", [], commit_message="x", repo_type="nothing"), True),
        (raised(hf_hub_url, None, None), False),  # a wrong argument
        (raised(raise_it, KeyError("x")), False),
        (raised(json.loads, "{"), False),
        (raised(lambda: list(zip([1], [], strict=True))), False),
    ],
)  # fmt: skip
def test_failures_of_the_client_differ_from_bugs(error, failure):
    assert is_client_error(error) is failure


def test_a_failure_of_the_hub_gives_a_one_line_error_and_a_bug_is_raised_unchanged():
    line = r"^push a/b: HTTP 503: 503 for hf_\*\*\*\. Run the same command again$"
    with pytest.raises(UserError, match=line), as_user_error("push a/b"):
        raise http_error(503)
    with pytest.raises(KeyError), as_user_error("push a/b"):
        raise KeyError("x")
    with pytest.raises(UserError, match="^as it is$"), as_user_error("push a/b"):
        raise UserError("as it is")


def test_the_error_names_its_cause_and_no_token():
    assert describe(http_error(401)) == "HTTP 401: 401 for hf_***"
    assert describe(ValueError("Bad request:\n\nInvalid metadata: licence")) == "Bad request: Invalid metadata: licence"
    hidden = caused_by(RuntimeError("Error while uploading 'a' to the Hub."), OSError(errno.EFBIG, "File too large"))
    assert describe(hidden) == "Error while uploading 'a' to the Hub. ([Errno 27] File too large)"
    assert describe(KeyError()) == "key error without a message"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (http_error(401), "Log in with `hf auth login`"),
        (http_error(403), "Use a token with write access"),
        (http_error(503), "Run the same command again"),
        (http_error(400), "The Hub refused this request; fix the problem named above"),
        (caused_by(RuntimeError("x"), OSError(errno.ENOSPC, "No space")), "Free space on the disk, or set HF_HOME"),
        (ConnectionError("write failed (os error 28)"), "Free space on the disk, or set HF_HOME"),
    ],
)
def test_every_failure_has_a_remedy(error, words):
    assert remedy(error).startswith(words)


def test_no_part_of_a_token_is_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-token-of-another-form")
    assert "a-tok" not in describe(ValueError("x" * 290 + "a-token-of-another-form"))
