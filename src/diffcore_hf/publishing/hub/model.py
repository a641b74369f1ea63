"""Models on the Hub: pushes the folder of a trained model."""

from __future__ import annotations

from pathlib import Path

from diffcore_hf.publishing.hub.client_errors import as_user_error


def push_model(folder: Path, repo_id: str) -> str:
    """Push a model's folder in one commit and return the address of the repository.

    Raises:
        UserError: the request failed or the Hub refused it; the same command may be run again.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    with as_user_error(f"push {repo_id}", f"{folder} is complete; push it again"):
        api = HfApi()
        repository = api.create_repo(repo_id, exist_ok=True)
        operations = [CommitOperationAdd(path.name, path) for path in files]
        api.create_commit(repository.repo_id, operations, commit_message="A model trained with diffcore-hf")
    return repository.url
