"""Tests of the checks before a public push of originals, for sources with different access and licences."""

from __future__ import annotations

import shutil

import pytest

from diffcore_hf.core.folder import Folder, manifest_bytes
from testing import hub_steps as steps

SOURCES = {
    "open": (dict(), "mit", None),
    "gated": ({"gated": "manual"}, "mit", "is gated"),
    "private": ({"private": True}, "mit", "is private"),
    "without a licence": (dict(), None, "the licence of .* is not known"),
    "deleted": (None, "mit", "cannot be read on the Hub"),
}


@pytest.fixture
def with_hub_source(hub, client, finished, tmp_path):
    """Make a copy of the finished folder whose source is on the Hub."""

    def make(settings: dict | None, licence: str | None):
        source = hub.repo_id()
        if settings is not None:
            client(steps.hub, "create_repo", source, repo_type="dataset", private=False)
        if settings:
            client(steps.hub, "update_repo_settings", source, repo_type="dataset", **settings)
        out = shutil.copytree(finished, tmp_path / "out")
        manifest = Folder(out).manifest()
        manifest["resolved"]["source"] |= {"path": source, "identity": "0" * 40, "licence": licence}
        (out / "diffcore.json").write_bytes(manifest_bytes(manifest))
        return out

    return make


@pytest.mark.parametrize("case", SOURCES)
def test_a_public_push_shows_originals_of_public_licensed_sources_only(hub, client, with_hub_source, case):
    settings, licence, reason = SOURCES[case]
    out, repo = with_hub_source(settings, licence), hub.repo_id()
    if reason is None:
        assert client(steps.push, out, repo, "v1.0.0", public=True)["private"] is False
        return
    with pytest.raises(
        ValueError, match=f"would show the original images, and .*{reason}.*; nothing was sent"
    ) as error:
        client(steps.push, out, repo, "v1.0.0", public=True)
    assert "--include_originals false" in str(error.value) and "--originals-are-mine" in str(error.value)
    assert ("datasets", repo) not in hub.repositories
    assert client(steps.push, out, repo, "v1.0.0")["private"] is True
    assert client(steps.push, out, hub.repo_id(), "v1.0.0", public=True, originals_are_mine=True)["private"] is False
