"""Patience: which faults pass, how long is waited, and that no token is told."""

import errno
import logging

import pytest
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import close_session, get_session, httpx, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from diffcore_hf.publishing.hub import retry as patience

REQUEST = httpx.Request("POST", "http://127.0.0.1/api")


def answer(status: int, **headers: str) -> HfHubHTTPError:
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return HfHubHTTPError(f"{status} for hf_abcdefGHIJKL", response=response)


def from_cause(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (answer(500), True), (answer(503), True), (answer(429), True), (answer(412), True), (answer(409), True),
        (answer(403), False), (answer(401), False), (answer(404), False), (answer(400), False),
        (httpx.ReadError("reset"), True), (httpx.ConnectError("refused"), True), (TimeoutError("slow"), True),
        (from_cause(RuntimeError("Error while uploading 'a'"), answer(500)), True),
        (from_cause(RuntimeError("Error while uploading 'a'"), answer(403)), False),
        (ConnectionError("CAS: 503 Service Unavailable"), True), (ConnectionError("CAS: 403 Forbidden"), False),
        (KeyError("x"), False),
    ],
)  # fmt: skip
def test_which_faults_pass(error, passing):
    assert patience.passes(error) is passing


def test_it_is_tried_again_until_it_works_and_longer_where_the_hub_asks(monkeypatch, caplog):
    limit = {"RateLimit": '"api";r=0;t=9'}
    slept = []
    errors = [answer(500), answer(429, **{"Retry-After": "7"}), answer(429, **limit), httpx.ReadError("x")]
    monkeypatch.setattr(patience.time, "sleep", slept.append)

    def call():
        if errors:
            raise errors.pop(0)
        return "done"

    with caplog.at_level(logging.WARNING):
        assert patience.patiently("commit", call, (1, 2, 3, 4)) == "done"
    assert slept == [1, 7, 9, 4]
    assert "hf_abc" not in caplog.text and "hf_***" in caplog.text


@pytest.mark.parametrize(("error", "tries"), [(answer(500), 3), (answer(403), 1)])
def test_it_ends(monkeypatch, error, tries):
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)
    calls = []

    def call():
        calls.append(1)
        raise error

    with pytest.raises(HfHubHTTPError):
        patience.patiently("tag", call, (0, 0))
    assert len(calls) == tries


def test_what_took_minutes_by_itself_is_not_tried_again(monkeypatch):
    clock = iter(range(0, 10_000, 200))
    monkeypatch.setattr(patience.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)
    calls = []

    def call():
        calls.append(1)
        raise ConnectionError("CAS: 503 Service Unavailable")

    with pytest.raises(ConnectionError):
        patience.patiently("commit", call)
    assert len(calls) == 3  # 200 seconds after the first fault once more, after 400 not


def test_what_is_told_is_one_line_with_a_remedy_and_no_token():
    assert patience.told(answer(401)) == "HTTP 401: HfHubHTTPError: 401 for hf_***"
    assert "Log in" in patience.remedy(answer(401)) and patience.remedy(answer(503)) == "Run the same command again"
    told = patience.told(ValueError("Bad request for commit endpoint:\n\nInvalid metadata: licence"))
    assert told == "ValueError: Bad request for commit endpoint: Invalid metadata: licence"
    assert patience.remedy(answer(400)) == "Mend what it names; the same again would be refused again"
    full = from_cause(RuntimeError("Error while downloading"), OSError(errno.ENOSPC, "No space left on device"))
    assert patience.remedy(full) == "Make room on the disk, or set HF_HOME to a folder on another one"


@pytest.mark.parametrize(("asked", "limit"), [(None, patience.SILENCE), (5, 5)])
def test_every_request_has_a_limit_and_its_own_is_kept(asked, limit):
    def read_limit() -> float | None:
        client = get_session()
        request = client.build_request("GET", "http://127.0.0.1/", timeout=asked)
        for hook in client.event_hooks["request"]:
            if hook is patience._limit:  # another refuses what is asked offline
                hook(request)
        return request.extensions["timeout"]["read"]

    with patience.listening(), patience.listening():
        assert read_limit() == limit
        close_session()  # as the client does after a connection that was refused
        assert read_limit() == limit
        assert get_session().event_hooks["request"].count(patience._limit) == 1
    assert read_limit() == asked


def test_a_persons_own_session_is_kept():
    made = []

    def own():
        made.append(default_client_factory())
        return made[-1]

    set_client_factory(own)
    try:
        with patience.listening():
            assert get_session() is made[-1] and patience._limit in made[-1].event_hooks["request"]
    finally:
        set_client_factory(default_client_factory)


def test_no_part_of_a_token_is_told(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-token-of-another-form")
    assert "a-tok" not in patience.told(ValueError("x" * 190 + "a-token-of-another-form"))
