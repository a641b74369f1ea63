"""Repositories: commits, branches, tags and pull requests, without HTTP.

A commit has all its files as {path: Blob}. A large file is a pointer (sha256, size), and its bytes are in objects.py.
The rights of the user are checked in accounts.py, before a function of this module is called.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from testing.hub_double.wire import Refusal

MAIN = "main"
ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(frozen=True)
class Blob:
    """A file of a commit: a regular file has `content`, a file in large file storage has `sha256`."""

    size: int
    content: bytes | None = None
    sha256: str | None = None

    @classmethod
    def regular(cls, content: bytes) -> Blob:
        return cls(len(content), content=content)

    @property
    def pointer(self) -> bytes:
        """Returns the bytes that git stores: the content of a regular file, or the pointer text of a large one."""
        if self.content is not None:
            return self.content
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def oid(self) -> str:
        """Returns the hash that git computes of the blob."""
        return hashlib.sha1(b"blob %d\0" % len(self.pointer) + self.pointer).hexdigest()


@dataclass(frozen=True)
class Commit:
    files: dict[str, Blob]
    parent: Commit | None
    title: str
    message: str
    author: str
    sha: str = field(default_factory=lambda: secrets.token_hex(20))
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    def history(self) -> Iterator[Commit]:
        """Yields this commit and its ancestors, the latest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    @cached_property
    def folders(self) -> dict[str, str]:
        """Returns {path: oid} of the folders that contain the files."""
        inside: dict[str, list[str]] = {}
        for path, blob in sorted(self.files.items()):
            parts = path.split("/")
            for depth in range(1, len(parts)):
                inside.setdefault("/".join(parts[:depth]), []).append(f"{path} {blob.oid}")
        return {path: hashlib.sha1("\n".join(lines).encode()).hexdigest() for path, lines in inside.items()}


@dataclass
class Pull:
    """A pull request. Its commits are the branch `refs/pr/<number>`, which starts at the commit `base` of `onto`."""

    number: int
    title: str
    description: str
    author: str
    onto: str
    base: Commit
    head: Commit
    status: str = "draft"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    merged: str | None = None

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"


class Repository:
    def __init__(self, kind: str, repo_id: str, author: str, *, private: bool = False):
        self.kind, self.id, self.private = kind, repo_id, private
        self.gated: str | bool = False
        self.created = datetime.now(UTC)
        first = Commit({".gitattributes": Blob.regular(ATTRIBUTES)}, None, "initial commit", "", author)
        self.branches: dict[str, Commit] = {MAIN: first}
        self.tags: dict[str, Commit] = {}
        self.pulls: dict[int, Pull] = {}
        self.commits: dict[str, Commit] = {first.sha: first}
        self.objects: set[str] = set()  # sha256 of all objects uploaded to this repository, committed or not

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    def find(self, revision: str) -> Commit:
        """Returns the commit of a branch, a tag, a pull request, a sha or the start of a sha."""
        for names in (self.branches, self.tags, {pull.ref: pull.head for pull in self.pulls.values()}):
            if revision in names:
                return names[revision]
        if re.fullmatch(r"[0-9a-f]{7,40}", revision):
            for sha, commit in self.commits.items():
                if sha.startswith(revision):
                    return commit
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def head(self, ref: str) -> Commit:
        """Returns the latest commit of a branch or pull request, which is the parent of the next commit."""
        if ref not in self.branches and ref not in (pull.ref for pull in self.pulls.values()):
            raise Refusal(404, f"{ref} is not a branch", "RevisionNotFound")
        return self.find(ref)

    def commit(
        self,
        changes: dict[str, Blob | None],
        *,
        ref: str = MAIN,
        parent: str | None = None,
        title: str = "a commit",
        message: str = "",
        author: str = "ada",
    ) -> Commit:
        """Creates a commit on `ref`, which changes the given files; None deletes a file.

        Raises:
            Refusal: status 412 if the latest commit of `ref` is not `parent` (7 hex digits or more).
        """
        head = self.head(ref)
        if parent is not None and not head.sha.startswith(parent):
            raise Refusal(412, f"A commit has happened since. Please refresh and try again: {ref} is at {head.sha}")
        commit = self._new_commit(head, changes, title, message, author)
        self._move(ref, commit)
        return commit

    def open_pull(
        self, changes: dict[str, Blob | None], *, onto: str, parent: str | None, title: str, message: str, author: str
    ) -> Pull:
        """Opens a pull request that starts at `parent`, by default the latest commit of `onto`.

        If there are no changes, it has no commit.
        """
        if onto not in self.branches:
            raise Refusal(404, f"{onto} is not a branch", "RevisionNotFound")
        base = self.find(parent or onto)
        head = self._new_commit(base, changes, title, message, author) if changes else base
        pull = Pull(len(self.pulls) + 1, title, message, author, onto, base, head, "open" if changes else "draft")
        self.pulls[pull.number] = pull
        return pull

    def merge(self, number: int, author: str) -> Commit:
        """Commits the changes of a pull request to its target branch."""
        pull = self.pulls[number]
        changes: dict[str, Blob | None] = {path: None for path in pull.base.files if path not in pull.head.files}
        changes |= {path: blob for path, blob in pull.head.files.items() if pull.base.files.get(path) != blob}
        commit = self.commit(changes, ref=pull.onto, title=f"{pull.title} (#{number})", author=author)
        pull.status, pull.merged = "merged", commit.sha
        return commit

    def files(self, revision: str = MAIN) -> dict[str, Blob]:
        return dict(self.find(revision).files)

    def refs(self) -> dict[str, str]:
        """Returns {ref: sha} of every branch, tag and pull request, to compare before and after."""
        return {
            **{f"refs/heads/{name}": commit.sha for name, commit in self.branches.items()},
            **{f"refs/tags/{name}": commit.sha for name, commit in self.tags.items()},
            **{pull.ref: pull.head.sha for pull in self.pulls.values()},
        }

    def _new_commit(
        self, head: Commit, changes: dict[str, Blob | None], title: str, message: str, author: str
    ) -> Commit:
        files = dict(head.files)
        for path, blob in changes.items():
            if blob is not None:
                files[path] = blob
            elif files.pop(path, None) is None:
                raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        commit = Commit(files, head, title, message, author)
        self.commits[commit.sha] = commit
        return commit

    def _move(self, ref: str, commit: Commit) -> None:
        if ref in self.branches:
            self.branches[ref] = commit
        for pull in self.pulls.values():
            if pull.ref == ref:
                pull.head = commit
