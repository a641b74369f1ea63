"""Checks a folder, or a version on the Hub, against its own manifest and recipe. This module prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.manifest import checked_manifest
from diffcore_hf.publishing.audit.dataset import audit
from diffcore_hf.publishing.audit.shards import Shards
from diffcore_hf.publishing.hub import parquet, verification
from diffcore_hf.publishing.hub.client_errors import as_user_error
from diffcore_hf.publishing.hub.remote import open_remote

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 256
"""Number of rows, with their images, in memory at a time."""


def verify(target: str) -> list[str]:
    """Check a folder, or a version such as `owner/name@v1.0.0`. Return one line for each kind of fault.

    Files are compared with the manifest, and the parts of a folder with the hashes in their names. Then rows are
    compared with each other and with the rules of the recipe. The hash of each image is checked only in a folder. For a
    version on the Hub, the hash of each shard covers its images.

    Raises:
        UserError: the folder, dataset or version does not exist, or the Hub failed.
    """
    if Path(target).is_dir():
        return _verify_folder(Folder(target))
    repo_id, at, version = target.partition("@")
    if not at:
        raise UserError(f"{target} is not a folder. Give a folder, or e.g. {target}@v1.0.0 for a version on the Hub")
    return _verify_version(repo_id, version)


def _verify_folder(folder: Folder) -> list[str]:
    faults = [str(damaged) for damaged in Ledger(folder.parts).damaged()]
    if published := verification.folder_faults(folder.path):
        return faults + published

    def read(path: str, columns: Sequence[str]) -> Iterable[pa.Table]:
        return parquet.read_batches(folder.path / path, path, columns, _BATCH)

    def names(path: str) -> list[str]:
        return parquet.column_names(folder.path / path, path)

    manifest = checked_manifest(folder.manifest(), str(folder.path))
    return faults + audit(Shards(manifest, read, names, images=True))


def _verify_version(repo_id: str, version: str) -> list[str]:
    remote = open_remote(repo_id)
    with as_user_error(f"{repo_id}@{version}"):
        state = remote.state(remote.commit_of_version(version))
        if faults := verification.commit_faults(state, remote):
            return faults

        def read(path: str, columns: Sequence[str]) -> Iterable[pa.Table]:
            return [remote.columns(path, state.commit, columns)]

        def names(path: str) -> list[str]:
            return remote.column_names(path, state.commit)

        manifest = checked_manifest(state.manifest, f"{repo_id}@{version}")
        return audit(Shards(manifest, read, names, images=False))
