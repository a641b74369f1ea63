"""Tests of retries: transient failures are retried for a limited time, and the log contains no token."""

import logging
import time

import pytest
from client_failures import caused_by, http_error
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from diffcore_hf.publishing.hub.retry import is_transient, retry


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (http_error(500), True), (http_error(503), True), (http_error(429), True), (http_error(412), True),
        (http_error(409), True),
        (http_error(403), False), (http_error(401), False), (http_error(404), False), (http_error(400), False),
        (httpx.ReadError("reset"), True), (httpx.ConnectError("refused"), True), (TimeoutError("slow"), True),
        (caused_by(RuntimeError("Error while uploading 'a'"), http_error(500)), True),
        (caused_by(RuntimeError("Error while uploading 'a'"), http_error(403)), False),
        (ConnectionError("CAS: 503 Service Unavailable"), True), (ConnectionError("CAS: 403 Forbidden"), False),
        (KeyError("x"), False),
    ],
)  # fmt: skip
def test_server_and_network_failures_are_transient_and_other_failures_are_not(error, transient):
    assert is_transient(error) is transient


def test_a_step_is_retried_after_the_waiting_time_that_the_hub_requests(monkeypatch, caplog):
    limit = {"RateLimit": '"api";r=0;t=9'}
    slept = []
    errors = [http_error(500), http_error(429, **{"Retry-After": "7"}), http_error(429, **limit), httpx.ReadError("x")]
    monkeypatch.setattr(time, "sleep", slept.append)

    def call():
        if errors:
            raise errors.pop(0)
        return "done"

    with caplog.at_level(logging.WARNING):
        assert retry("commit", call, (1, 2, 3, 4)) == "done"
    assert slept == [1, 7, 9, 4]
    assert "hf_abc" not in caplog.text and "hf_***" in caplog.text


@pytest.mark.parametrize(("error", "calls"), [(http_error(500), 3), (http_error(403), 1), (KeyError("x"), 1)])
def test_a_transient_failure_is_retried_a_limited_number_of_times(monkeypatch, error, calls):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    started = []

    def call():
        started.append(1)
        raise error

    with pytest.raises((HfHubHTTPError, KeyError)):
        retry("tag", call, (0, 0))
    assert len(started) == calls


def test_a_step_is_not_retried_after_the_end_of_the_retry_window(monkeypatch):
    clock = iter(range(0, 10_000, 200))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    calls = []

    def call():
        calls.append(1)
        raise ConnectionError("CAS: 503 Service Unavailable")

    with pytest.raises(ConnectionError):
        retry("commit", call)
    assert len(calls) == 3  # there are retries at 0 and 200 seconds after the first failure, and none at 400 seconds
