"""Tests of timeouts: each request of the client has a timeout, and the session of a user is kept."""

import pytest
from huggingface_hub.utils import close_session, get_session, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from diffcore_hf.publishing.hub import timeouts
from diffcore_hf.publishing.hub.timeouts import request_timeout


@pytest.mark.parametrize(("asked", "timeout"), [(None, timeouts.HUB_TIMEOUT), (5, 5)])
def test_a_request_without_a_timeout_gets_the_default_timeout(asked, timeout):
    def read_timeout() -> float | None:
        client = get_session()
        request = client.build_request("GET", "http://127.0.0.1/", timeout=asked)
        for hook in client.event_hooks["request"]:
            if hook is timeouts._set_timeout:  # another hook of the client raises in offline mode
                hook(request)
        return request.extensions["timeout"]["read"]

    with request_timeout(), request_timeout():
        assert read_timeout() == timeout
        close_session()  # the client also closes its session after a refused connection
        assert read_timeout() == timeout
        assert get_session().event_hooks["request"].count(timeouts._set_timeout) == 1
    assert read_timeout() == asked


def test_a_session_configured_by_the_user_is_kept():
    sessions = []

    def own():
        sessions.append(default_client_factory())
        return sessions[-1]

    set_client_factory(own)
    try:
        with request_timeout():
            assert get_session() is sessions[-1] and timeouts._set_timeout in sessions[-1].event_hooks["request"]
    finally:
        set_client_factory(default_client_factory)
