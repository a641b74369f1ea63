"""The local cache of huggingface_hub: the commits of branches and tags at their last download.

This module is used for models and for datasets. It also defines constants for requests to the Hub. It sends no request.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from diffcore_hf.core.folder import write_atomic

RepoType = Literal["model", "dataset"]

COMMIT = re.compile(r"[0-9a-f]{40}")
"""Pattern of a full commit hash of a Hub repository."""

HUB_TIMEOUT = 120.0
"""Seconds without data after which a request to the Hub times out. The client has no timeout by default."""


def record_commit(repo_id: str, revision: str | None, commit: str | None, repo_type: RepoType = "model") -> None:
    """Store in the cache the commit of a revision (default: main), so that it can be resolved offline.

    huggingface_hub stores the commit only if a download names a branch or a tag. Nothing is stored if `commit` is None,
    which is so for a local path.
    """
    if commit is not None and cached_commit(repo_id, revision, repo_type) != commit:
        write_atomic(ref_file(repo_id, revision, repo_type), commit.encode())


def cached_commit(repo_id: str, revision: str | None = None, repo_type: RepoType = "model") -> str | None:
    """Return the commit that a revision (default: main) pointed to when it was last downloaded.

    A full commit is returned unchanged. None means that the revision was never downloaded.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    try:
        commit = ref_file(repo_id, revision, repo_type).read_text().strip()
    except OSError:  # the repository was never downloaded
        return None
    return commit if COMMIT.fullmatch(commit) else None


def cache_folder(repo_id: str, repo_type: RepoType) -> Path:
    """Return the folder of a repository in the cache, whether it exists or not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=repo_type)


def ref_file(repo_id: str, revision: str | None, repo_type: RepoType) -> Path:
    """Return the file in the cache that contains the commit of a branch or tag."""
    return cache_folder(repo_id, repo_type) / "refs" / (revision or "main")
