"""Tests that the real Hub behaves like the Hub double, the local test server of the other tests.

They need a token with write access in DIFFCORE_HF_LIVE_TOKEN:

    DIFFCORE_HF_LIVE_TOKEN=hf_... python -m pytest tests/live

The test creates two private dataset repositories of the token's owner and deletes them at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOKEN = os.environ.get("DIFFCORE_HF_LIVE_TOKEN")
pytestmark = pytest.mark.skipif(not TOKEN, reason="DIFFCORE_HF_LIVE_TOKEN is not set")

ASSUMPTIONS = """
import secrets, sys
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
api = HfApi()
repo = f"{api.whoami()['name']}/diffcore-hf-live-{secrets.token_hex(4)}"
api.create_repo(repo, repo_type="dataset", private=True)
def refused(status, call, *args, **keys):
    try:
        call(*args, **keys)
    except HfHubHTTPError as error:
        assert error.response.status_code == status, (status, error.response.status_code)
    else:
        raise AssertionError(f"{status} was expected")
try:
    first = api.dataset_info(repo).sha
    one = [CommitOperationAdd("a.txt", b"1")]
    api.create_commit(repo, one, commit_message="one", repo_type="dataset", parent_commit=first)
    two = [CommitOperationAdd("a.txt", b"2")]
    refused(412, api.create_commit, repo, two, commit_message="stale", repo_type="dataset", parent_commit=first)
    api.create_tag(repo, tag="v1.0.0", repo_type="dataset")
    refused(409, api.create_tag, repo, tag="v1.0.0", repo_type="dataset")
    head = api.dataset_info(repo).sha
    again = [CommitOperationAdd("a.txt", b"1")]
    assert api.create_commit(repo, again, commit_message="same", repo_type="dataset").oid == head
    from diffcore_hf.workflows.push import push
    from diffcore_hf.workflows.verify import verify
    push(sys.argv[1], repo + "-v", "v1.0.0")
    assert verify(f"{repo}-v@v1.0.0") == []
finally:
    api.delete_repo(repo, repo_type="dataset")
    api.delete_repo(repo + "-v", repo_type="dataset", missing_ok=True)
"""


def test_the_hub_behaves_as_the_double_assumes(tmp_path, keys, folder_of_photos):
    from diffcore_hf.config.augment_schema import build_recipe
    from diffcore_hf.workflows.augment import run as run_augment

    out = tmp_path / "out"
    run_augment(build_recipe({"source": {"path": str(folder_of_photos)}, "output": str(out)}, keys), progress=False)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = kept | {"HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", ASSUMPTIONS, str(out)],
        env=env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
