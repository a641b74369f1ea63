"""Tests of the processes in which clients run: their values, exceptions and output, and their end."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from testing.hub_double.client import ROOT, Client, environment
from testing.hub_double.faults import Delay

SCRIPT = """
import sys
from huggingface_hub import HfApi
content = sys.argv[1].encode() * 5000
HfApi().upload_file(path_or_fileobj=content, path_in_repo="a.bin", repo_id=sys.argv[1], repo_type="dataset")
"""


class UnpicklableError(Exception):
    """An exception that can be pickled but not unpickled, because its constructor takes other arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def settings() -> dict:
    import datasets
    from huggingface_hub import constants, get_token
    from huggingface_hub.utils._runtime import is_xet_available

    return {
        "endpoints": {constants.ENDPOINT, datasets.config.HF_ENDPOINT},
        "offline": constants.HF_HUB_OFFLINE,
        "home": constants.HF_HOME,
        "token": get_token(),
        "xet": is_xet_available(),
    }


def raise_unpicklable_error() -> None:
    raise UnpicklableError("this", "that")


def print_and_return(word: str) -> str:
    print(word)
    return word


def exit_process() -> None:
    os._exit(3)


def sleep_a_minute() -> None:
    time.sleep(60)


def test_the_double_imports_no_client_library():
    code = (
        "import sys, testing.hub_double.double; sys.exit(not {'huggingface_hub', 'datasets'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_the_clients_of_a_worker_send_their_requests_to_the_double(hub, client, xet_client):
    about = {"endpoints": {hub.url}, "offline": False, "token": hub.token}
    assert client(settings) == {**about, "home": str(client.home), "xet": False}
    assert xet_client(settings) == {**about, "home": str(xet_client.home), "xet": True}


def test_the_worker_returns_values_exceptions_and_output(client):
    assert client(print_and_return, "a printed word") == "a printed word"
    assert "a printed word" in client.output()
    with pytest.raises(RuntimeError, match="this and that") as caught:
        client(raise_unpicklable_error)
    assert "in the worker" in str(caught.value)
    with pytest.raises(KeyError) as caught:
        client(eval, "{}['no key']")
    assert "in the worker" in caught.value.__notes__[0]


def test_a_worker_that_exits_or_times_out_is_replaced(hub, tmp_path):
    with Client(hub, tmp_path, xet=False) as worker:
        with pytest.raises(RuntimeError, match="the worker died"):
            worker(exit_process)
        worker.timeout = 0.5
        with pytest.raises(TimeoutError, match="sleep_a_minute took more than 0.5 s"):
            worker(sleep_a_minute)
        worker.timeout = 60
        assert worker(print_and_return, "a second word") == "a second word"


def test_sys_exit_in_the_worker_is_raised_in_the_calling_process(client):
    with pytest.raises(SystemExit, match="2"):
        client(sys.exit, 2)


@pytest.mark.parametrize("xet", [False, True])
def test_a_program_that_is_killed_while_it_uploads_leaves_no_commit(hub, repo, tmp_path, xet):
    before = hub.dataset(repo).refs()
    rule = hub.faults.add("PUT|POST", "^/upload/|^/v1/shards", Delay(0.3))
    command = [sys.executable, "-c", SCRIPT, repo]
    with subprocess.Popen(command, env=environment(hub, tmp_path, xet=xet)) as program:
        while not rule.hits and program.poll() is None:
            time.sleep(0.01)
        program.kill()
    time.sleep(0.4)
    assert hub.dataset(repo).refs() == before
    hub.log.clear()
    subprocess.run(command, env=environment(hub, tmp_path, xet=xet), check=True)
    assert hub.content(hub.dataset(repo))["a.bin"] == repo.encode() * 5000
    assert hub.log.uploaded() == 0  # the server received the whole file before
