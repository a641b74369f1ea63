"""Functions for `client(...)`. They import the clients of the Hub only in the process that runs them."""

from __future__ import annotations

from typing import Any

DATASET = {"repo_type": "dataset"}


def api(method: str, *args, **kwargs) -> Any:
    """Calls a method of HfApi. Returns its result; an iterator is returned as a list."""
    from huggingface_hub import HfApi

    answer = getattr(HfApi(), method)(*args, **kwargs)
    return list(answer) if hasattr(answer, "__next__") else answer


def commit(repo: str, added: dict[str, bytes], deleted: tuple[str, ...] = (), *, beforehand=False, **options):
    """Calls create_commit with explicit operations. If `beforehand` is true, large files are uploaded first."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    additions = [CommitOperationAdd(path, content) for path, content in added.items()]
    if beforehand:
        HfApi().preupload_lfs_files(repo, additions, **DATASET)
    operations = [*additions, *map(CommitOperationDelete, deleted)]
    return HfApi().create_commit(repo, operations, commit_message="a version", **DATASET, **options)


def download(repo: str, name: str) -> bytes:
    from huggingface_hub import hf_hub_download

    with open(hf_hub_download(repo, name, **DATASET), "rb") as file:
        return file.read()


def status(error: Exception) -> int:
    """Returns the HTTP status of an exception of HfApi."""
    return error.response.status_code
