"""Remote: what a dataset repository on the Hub holds, commit by commit.

Owns the questions that are asked and the shape of their answers. Sends nothing that changes anything. Everything is
asked by commit, so that an answer is of one state, and no cache can give another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.folder import parse_manifest
from diffcore_hf.core.hub_cache import COMMIT

if TYPE_CHECKING:
    import pyarrow as pa
    from huggingface_hub import HfApi

MANIFEST = "diffcore.json"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit."""

    size: int
    sha256: str | None
    """Of what lies in large file storage; None of what lies in git itself."""
    blob: str
    """Git's own hash: of the content, or of the pointer to it."""

    def holds(self, content: Path) -> bool:
        """Whether it is that local file, byte for byte."""
        if self.size != content.stat().st_size:
            return False
        if self.sha256 is not None:
            with open(content, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        return blob_of(content.read_bytes()) == self.blob


@dataclass(frozen=True)
class State:
    """A repository at a commit."""

    commit: str
    files: Mapping[str, RemoteFile]
    manifest: Mapping[str, Any] | None
    """diffcore.json; None where there is none that can be read."""

    @property
    def hash(self) -> str | None:
        """What its manifest carries: the identity of a version's content."""
        return (self.manifest or {}).get("hash")


class Remote:
    """One dataset repository."""

    def __init__(self, repo_id: str, api: HfApi):
        self.repo_id, self.api = repo_id, api

    def head(self) -> Any | None:
        """What the Hub says of it (sha, private, ...); None where there is no such repository, or it is not shown."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self.api.dataset_info(self.repo_id)
        except RepositoryNotFoundError:
            return None

    def tags(self) -> dict[str, str]:
        """Tag -> commit."""
        return {ref.name: ref.target_commit for ref in self.api.list_repo_refs(self.repo_id, repo_type="dataset").tags}

    def commit_of(self, revision: str) -> str:
        """The commit of a tag or branch; never from a cache."""
        return revision if COMMIT.fullmatch(revision) else self.api.dataset_info(self.repo_id, revision=revision).sha

    def state(self, commit: str) -> State:
        """Everything that a commit holds."""
        from huggingface_hub.hf_api import RepoFile

        entries = self.api.list_repo_tree(self.repo_id, recursive=True, revision=commit, repo_type="dataset")
        files = {
            entry.path: RemoteFile(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }
        manifest = self.manifest(commit) if MANIFEST in files else None
        return State(commit, files, manifest)

    def manifest(self, commit: str) -> Mapping[str, Any] | None:
        """diffcore.json of a commit; None where there is none, or none that can be read."""
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return parse_manifest(self._fetched(MANIFEST, commit).read_bytes())
        except LocalEntryNotFoundError:  # the Hub failed, which says nothing about the file
            raise
        except EntryNotFoundError:
            return None

    def text(self, path: str, commit: str) -> str:
        """The content of a small file."""
        return self._fetched(path, commit).read_text(encoding="utf-8")

    def _fetched(self, path: str, commit: str) -> Path:
        return Path(self.api.hf_hub_download(self.repo_id, path, repo_type="dataset", revision=commit))

    def rows(self, path: str, commit: str) -> int:
        """Rows of a Parquet file, from its footer alone."""
        import pyarrow.parquet as pq

        with self._open(path, commit) as file:
            return pq.ParquetFile(file).metadata.num_rows

    def columns(self, path: str, commit: str, names: Sequence[str]) -> pa.Table:
        """Some columns of a Parquet file; the others are not fetched."""
        import pyarrow.parquet as pq

        with self._open(path, commit) as file:
            return pq.read_table(file, columns=list(names))

    def names(self, path: str, commit: str) -> list[str]:
        """The columns of a Parquet file."""
        import pyarrow.parquet as pq

        with self._open(path, commit) as file:
            return pq.read_schema(file).names

    def _open(self, path: str, commit: str) -> Any:
        from huggingface_hub import HfFileSystem

        system = HfFileSystem(endpoint=self.api.endpoint, token=self.api.token)
        return system.open(f"datasets/{self.repo_id}@{commit}/{path}", block_size=1 << 16)


def blob_of(content: bytes) -> str:
    """Git's hash of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
