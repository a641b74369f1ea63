"""The cache of huggingface_hub: which commit a branch or tag stood for when it was last downloaded.

Owns these notes, for models and datasets alike, and what else every room that asks the Hub has to know. Does not ask
the Hub, nor load anything.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from diffcore_hf.core.folder import write_whole

RepoType = Literal["model", "dataset"]

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A full commit of a Hub repository."""

HUB_TIMEOUT = 120.0
"""Seconds without a byte after which a request to the Hub times out, as in Xet; its client has no default."""


def record_commit(repo_id: str, revision: str | None, commit: str | None, repo_type: RepoType = "model") -> None:
    """Notes in the cache which commit a revision (default: main) stands for, so that it can be looked up offline.

    huggingface_hub does so itself, but not for what is downloaded by its commit. None (what lies here) is not noted.
    """
    if commit is not None and cached_commit(repo_id, revision, repo_type) != commit:
        write_whole(ref_file(repo_id, revision, repo_type), commit.encode())


def cached_commit(repo_id: str, revision: str | None = None, repo_type: RepoType = "model") -> str | None:
    """The commit that a revision (default: main) stood for when it was last downloaded; a full commit is itself."""
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    try:
        commit = ref_file(repo_id, revision, repo_type).read_text().strip()
    except OSError:  # never downloaded
        return None
    return commit if COMMIT.fullmatch(commit) else None


def cache_folder(repo_id: str, repo_type: RepoType) -> Path:
    """The cache's folder of a repository, there or not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=repo_type)


def ref_file(repo_id: str, revision: str | None, repo_type: RepoType) -> Path:
    """The cache's note of what a branch or tag stands for."""
    return cache_folder(repo_id, repo_type) / "refs" / (revision or "main")
