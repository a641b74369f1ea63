"""Compares two versions of a dataset, or a version with a folder. This module prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.manifest import Manifest, checked_manifest
from diffcore_hf.core.schema import UnitKey
from diffcore_hf.publishing.hub import parquet
from diffcore_hf.publishing.hub.client_errors import as_user_error
from diffcore_hf.publishing.hub.difference import Difference, VersionContent, compare, counterparts_of
from diffcore_hf.publishing.hub.remote import Remote, open_remote

if TYPE_CHECKING:
    import pyarrow as pa

_ReadColumns = Callable[[str, Sequence[str]], "pa.Table"]


def diff(repo_id: str, old: str, new: str) -> Difference:
    """Compare a version with another one, or with a local folder.

    Args:
        repo_id: `owner/name` on the Hub.
        old: the older version.
        new: the newer version, or a folder.

    Raises:
        UserError: the dataset or version does not exist, or the folder is incomplete.
    """
    remote = open_remote(repo_id)
    with as_user_error(f"{repo_id} {old}"):
        before = _version_content(remote, old)
    if Path(new).is_dir():
        return compare(before, _folder_content(Folder(new)))
    with as_user_error(f"{repo_id} {new}"):
        return compare(before, _version_content(remote, new))


def _version_content(remote: Remote, version: str) -> VersionContent:
    commit = remote.commit_of_version(version)
    manifest = checked_manifest(remote.manifest(commit), f"{remote.repo_id} {version}")
    return _content(manifest, lambda path, columns: remote.columns(path, commit, columns))


def _folder_content(folder: Folder) -> VersionContent:
    manifest = checked_manifest(folder.manifest(), str(folder.path))
    if faults := folder.faults():
        raise UserError(
            f"{folder.path} is incomplete or was changed ({faults[0]}). Run augment or export again to repair it"
        )
    return _content(manifest, lambda path, columns: parquet.read_columns(folder.path / path, path, columns))


def _content(manifest: Manifest, read: _ReadColumns) -> VersionContent:
    originals: dict[str, str | None] = {}
    counterparts: dict[UnitKey, str] = {}
    for path in _shards(manifest, "references"):
        table = read(path, ["row_id", "source_sha256"])
        originals |= dict(zip(table["row_id"].to_pylist(), table["source_sha256"].to_pylist(), strict=True))
    for path in _shards(manifest, "attempts"):
        counterparts |= counterparts_of(read(path, ["row_id", "copy", "reason", "image_sha256"]))
    return VersionContent(manifest, originals, counterparts)


def _shards(manifest: Manifest, config: str) -> list[str]:
    return list(chain.from_iterable(manifest["configs"].get(config, {}).values()))
