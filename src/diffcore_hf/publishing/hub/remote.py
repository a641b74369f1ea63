"""Remote: reads a dataset repository on the Hub, one commit at a time.

Owns the requests that only read, and the records that they return. Every request names a commit, so a result never
mixes two states of the repository, and a cache cannot return the files of another state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.folder import parse_manifest
from diffcore_hf.core.hub_cache import COMMIT
from diffcore_hf.core.own_files import MAX_BYTES
from diffcore_hf.publishing.hub import parquet
from diffcore_hf.publishing.hub.versions import check_name, parse_version

if TYPE_CHECKING:
    import pyarrow as pa
    from huggingface_hub import HfApi

MANIFEST = "diffcore.json"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit."""

    size: int
    sha256: str | None
    """Hash of a file in large file storage; None for a file that git stores itself."""
    blob: str
    """Hash that git computes, of the content or of the pointer to large file storage."""

    def equals(self, local: Path) -> bool:
        """Return whether a local file has the same bytes."""
        if self.size != local.stat().st_size:
            return False
        if self.sha256 is not None:
            with open(local, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        return blob_of(local.read_bytes()) == self.blob


@dataclass(frozen=True)
class State:
    """The files of a repository at a commit."""

    commit: str
    files: Mapping[str, RemoteFile]
    manifest: Mapping[str, Any] | None
    """Content of diffcore.json, not validated; None if it is missing or cannot be parsed."""

    @property
    def hash(self) -> str | None:
        """The hash in the manifest, which identifies the content of a version."""
        return (self.manifest or {}).get("hash")


class Remote:
    """A dataset repository on the Hub."""

    def __init__(self, repo_id: str, api: HfApi):
        self.repo_id, self.api = repo_id, api

    def head(self) -> Any | None:
        """Return the Hub's record of the repository (sha, private, ...); None if there is none, or the token has no
        access."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self.api.dataset_info(self.repo_id)
        except RepositoryNotFoundError:
            return None

    def tags(self) -> dict[str, str]:
        """Return the commit of each tag, by the tag's name."""
        return {ref.name: ref.target_commit for ref in self.api.list_repo_refs(self.repo_id, repo_type="dataset").tags}

    def commit_of(self, revision: str) -> str:
        """Request the commit of a tag or branch from the Hub, never from a cache."""
        if COMMIT.fullmatch(revision):
            return revision
        commit = self.api.dataset_info(self.repo_id, revision=revision).sha
        if commit is None:
            raise OSError(f"the Hub returned no commit for {self.repo_id} at {revision}")
        return commit

    def commit_of_version(self, version: str) -> str:
        """Return the commit of a version's tag; a full commit is returned unchanged.

        Raises:
            UserError: the text is neither a version nor a commit.
        """
        return self.commit_of(version if COMMIT.fullmatch(version) else parse_version(version).tag)

    def state(self, commit: str) -> State:
        """Return all files of a commit and its manifest."""
        from huggingface_hub.hf_api import RepoFile

        entries = self.api.list_repo_tree(self.repo_id, recursive=True, revision=commit, repo_type="dataset")
        files = {
            entry.path: RemoteFile(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }
        fits = MANIFEST in files and files[MANIFEST].size <= MAX_BYTES
        manifest = self.manifest(commit) if fits else None
        return State(commit, files, manifest)

    def manifest(self, commit: str) -> Mapping[str, Any] | None:
        """Return the content of diffcore.json in a commit; None if it is missing or cannot be parsed."""
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return parse_manifest(self.download(MANIFEST, commit).read_bytes())
        except LocalEntryNotFoundError:  # The request failed, so the file may exist.
            raise
        except EntryNotFoundError:
            return None

    def text(self, path: str, commit: str) -> str:
        """Return the content of a small file."""
        return self.download(path, commit).read_text(encoding="utf-8")

    def download(self, path: str, commit: str) -> Path:
        """Return the local copy of a file; it is downloaded if it is not cached."""
        return Path(self.api.hf_hub_download(self.repo_id, path, repo_type="dataset", revision=commit))

    def row_count(self, path: str, commit: str) -> int:
        """Return the number of rows of a shard; only its footer is downloaded."""
        with self._open(path, commit) as file:
            return parquet.row_count(file, path)

    def columns(self, path: str, commit: str, names: Sequence[str]) -> pa.Table:
        """Return some columns of a shard; other columns are not downloaded."""
        with self._open(path, commit) as file:
            return parquet.read_columns(file, path, names)

    def schema(self, path: str, commit: str) -> pa.Schema:
        """Return the schema of a shard."""
        with self._open(path, commit) as file:
            return parquet.schema(file, path)

    def column_names(self, path: str, commit: str) -> list[str]:
        """Return the names of a shard's columns."""
        with self._open(path, commit) as file:
            return parquet.column_names(file, path)

    def _open(self, path: str, commit: str) -> Any:
        from huggingface_hub import HfFileSystem

        system = HfFileSystem(endpoint=self.api.endpoint, token=self.api.token)
        return system.open(f"datasets/{self.repo_id}@{commit}/{path}", block_size=1 << 16)


def open_remote(repo_id: str) -> Remote:
    """Return the repository of this name, to be read with the user's token. Sends no request.

    Raises:
        UserError: the Hub would refuse the name.
    """
    from huggingface_hub import HfApi

    check_name(repo_id)
    return Remote(repo_id, HfApi())


def blob_of(content: bytes) -> str:
    """Return the hash that git computes of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
