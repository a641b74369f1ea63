"""Push: publishes a finished folder as a version of a repository. A version is complete or does not exist.

Owns the order of the steps: check, upload, create one commit, read it back, and only then set the tag that names the
version. A version never changes after its tag exists. Every step is idempotent: stored files are not sent again, and
an existing commit or tag is recognised by the hash in its manifest. So after any failure the same call completes the
same version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.manifest import Manifest
from diffcore_hf.publishing.hub import checks, verification
from diffcore_hf.publishing.hub.changes import Changes, changes_to
from diffcore_hf.publishing.hub.client_errors import as_user_error
from diffcore_hf.publishing.hub.remote import Remote, State, open_remote
from diffcore_hf.publishing.hub.retry import BACKOFF, is_transient, retry
from diffcore_hf.publishing.hub.versions import Version, next_version, parse_version, versions_among

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

ExtraFiles = Callable[[str | None], Mapping[str, bytes]]
"""Function that returns the published files that the manifest does not list, as path -> content. They include the new
card. The argument is the card in the repository, or None."""


@dataclass(frozen=True)
class PushResult:
    """The version that a push published, proposed, or would publish in a dry run."""

    url: str
    version: str
    commit: str | None
    """None if nothing was sent (dry run)."""
    private: bool
    changes: Changes
    """Additions and deletions of the commit; empty if the commit existed already."""
    pull_request: str | None = None
    """Address of the pull request; None if there is none."""
    tagged: bool = False
    """Whether this push set the tag; false if an earlier push had set it."""
    created: bool = False
    """Whether this push created the repository, or would create it in a dry run."""
    reason_for_private: str | None = None
    """Why a private repository should stay private; None if there is no reason."""


def push(
    out: str | Path,
    repo_id: str,
    version: str,
    extra_files: ExtraFiles,
    *,
    public: bool = False,
    originals_are_mine: bool = False,
    create_pr: bool = False,
    dry_run: bool = False,
    backoff: Sequence[float] = BACKOFF,
) -> PushResult:
    """Publish a folder as one version.

    Args:
        out: path of the folder; every file is compared with its recorded hash before anything is sent.
        repo_id: `owner/name` of a dataset repository, which is created if it does not exist.
        version: semantic version, such as `v1.0.0`.
        extra_files: function that returns the published files that the manifest does not list.
        public: create a new repository as public. The visibility of an existing repository does not change.
        originals_are_mine: True if the publisher states that the original images may be published.
        create_pr: propose the version in a pull request; push again after the merge to set the tag.
        dry_run: send nothing and return the changes.
        backoff: seconds before each retry of a failed step.

    Raises:
        UserError: the push failed or was refused; no version became visible or changed.
    """
    number = parse_version(version)
    remote = open_remote(repo_id)
    folder, manifest = checks.finished(out)
    steps = _Push(
        remote,
        folder.path,
        manifest,
        number,
        extra_files,
        originals_are_mine=originals_are_mine,
        create_pr=create_pr,
        backoff=backoff,
    )
    with as_user_error(f"push {repo_id} {number.tag}", "No version became visible; run the same command again"):
        return steps.run(public=public, dry_run=dry_run)


class _Committed(NamedTuple):
    """The commit that contains the version."""

    commit: str
    changes: Changes
    pull_request: str | None


@dataclass(frozen=True)
class _Push:
    """The parameters and the steps of one push."""

    remote: Remote
    folder: Path
    manifest: Manifest
    version: Version
    extra_files: ExtraFiles
    originals_are_mine: bool
    create_pr: bool
    backoff: Sequence[float]

    @property
    def title(self) -> str:
        """Message of the commit and title of the pull request. It contains the hash of the content."""
        return f"Version {self.version.tag} ({self.manifest['hash'][:16]})"

    @property
    def api(self) -> HfApi:
        return self.remote.api

    def run(self, *, public: bool, dry_run: bool) -> PushResult:
        """Do the steps in order."""
        remote, tag = self.remote, self.version.tag
        info = retry("repository", remote.head, self.backoff)
        private = info.private if info else not public
        tags = retry("tags", remote.tags, self.backoff) if info else {}
        if not private and tag not in tags:
            self.check_may_be_shown()
        reason = self.reason_for_private() if private else None
        url = f"{self.api.endpoint}/datasets/{remote.repo_id}"
        if tag in tags:
            retry("version", lambda: self.check_same_version(tags), self.backoff)
            return PushResult(url, tag, tags[tag], private, Changes({}, ()), reason_for_private=reason)
        if self.create_pr and info is None:
            raise UserError(
                f"{remote.repo_id} does not exist, so a pull request is not possible. Push without --create-pr"
            )
        if dry_run:
            planned = retry("state", self.changes_to_head, self.backoff) if info else self.changes_to(None)
            return PushResult(url, tag, None, private, planned, created=info is None)
        if info is None:
            private = self.create(private)
        commit, changes, request = retry("commit", self.commit, self.backoff)
        retry(
            "read back",
            lambda: verification.check_commit(remote, commit, self.manifest, self.folder),
            self.backoff,
        )
        if request is None:
            retry("tag", lambda: self.tag(commit), self.backoff)
        return PushResult(
            url,
            tag,
            commit,
            private,
            changes,
            request,
            tagged=request is None,
            created=info is None,
            reason_for_private=reason,
        )

    def check_may_be_shown(self) -> None:
        """Raise UserError if the push would publish original images that may have to stay private."""
        checks.check_may_be_shown(self.manifest, self.api, originals_are_mine=self.originals_are_mine, out=self.folder)

    def reason_for_private(self) -> str | None:
        """Return why the repository should stay private; None if there is no reason."""
        if self.originals_are_mine or not checks.shows_originals(self.manifest):
            return None
        return checks.reason_against_public(self.manifest["resolved"]["source"], self.api)

    def create(self, private: bool) -> bool:
        """Create the repository and return whether it is private."""
        repo_id = self.remote.repo_id

        def create_repo() -> None:
            self.api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)

        retry("create", create_repo, self.backoff)
        existing = retry("repository", self.remote.head, self.backoff)
        if private and existing and not existing.private:  # Another user created the repository in the meantime.
            self.check_may_be_shown()
            return False
        return private

    def changes_to_head(self) -> Changes:
        """Return the changes that a new commit after the latest commit would make."""
        state = self.remote.state(self.remote.commit_of("main"))
        checks.check_same_dataset(self.remote, state, self.manifest, self.folder)
        return self.changes_to(state)

    def changes_to(self, state: State | None) -> Changes:
        """Return the changes that a new commit after `state` would make; None: the repository does not exist yet."""
        return changes_to(self.folder, self.manifest, self.extra_files(self.card(state)), state)

    def card(self, state: State | None) -> str | None:
        """Return the card of a state; None if it has none."""
        if state is None or "README.md" not in state.files:
            return None
        try:
            return self.remote.text("README.md", state.commit)
        except UnicodeDecodeError as error:
            raise UserError(
                f"README.md of {self.remote.repo_id} is not UTF-8 text ({innermost_cause(error)}). "
                "Correct it there, then push"
            ) from error

    def commit(self) -> _Committed:
        """Commit the version, or return the commit that contains it already.

        A retry repeats this whole method, because the latest commit may have changed. After a lost response, the latest
        commit already contains the version. After a commit of another user, the changes are different.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        remote = self.remote
        state = remote.state(remote.commit_of("main"))
        checks.check_same_dataset(remote, state, self.manifest, self.folder)
        changes = self.changes_to(state)
        if not changes and self.create_pr:
            raise UserError(f"{remote.repo_id} has this content already. Push without --create-pr to set the tag")
        if not changes:
            return _Committed(state.commit, changes, None)
        if self.create_pr and (proposed := self.open_pull_request()):
            commit, address = proposed
            if self.changes_to(remote.state(commit)):
                raise UserError(
                    f"{address} proposes {self.version.tag} already, but with a different card or different files. "
                    "Close that pull request, then push again"
                )
            return _Committed(commit, changes, address)
        additions = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in changes.add.items()
        ]
        self.upload(additions)
        info = self.api.create_commit(
            remote.repo_id,
            [*additions, *(CommitOperationDelete(path) for path in changes.delete)],
            commit_message=self.title,
            repo_type="dataset",
            revision="main",
            parent_commit=state.commit,
            create_pr=self.create_pr,
        )
        return _Committed(info.oid, changes, info.pr_url)

    def upload(self, additions: Sequence[CommitOperationAdd]) -> None:
        """Upload the large files before the commit, so that the commit has only pointers to them and is fast.

        Each call uploads one file. Xet packs the files of one call together, in an order that differs between calls. If
        several files were sent in one call, a call after an interruption would send stored data again.
        """
        for addition in additions:
            self.api.preupload_lfs_files(
                self.remote.repo_id,
                [addition],
                repo_type="dataset",
                revision="main",
                create_pr=self.create_pr,
                free_memory=False,
            )

    def open_pull_request(self) -> tuple[str, str] | None:
        """Return commit and address of the open pull request that an earlier call created for this version."""
        discussions = self.api.get_repo_discussions(
            self.remote.repo_id, repo_type="dataset", discussion_type="pull_request", discussion_status="open"
        )
        for discussion in discussions:
            if discussion.title == self.title and discussion.git_reference:
                return self.remote.commit_of(discussion.git_reference), discussion.url
        return None

    def tag(self, commit: str) -> None:
        """Set the tag. If it already exists, check its content.

        Another push may have set it, or an earlier call whose response was lost.
        """
        try:
            self.api.create_tag(self.remote.repo_id, tag=self.version.tag, revision=commit, repo_type="dataset")
        except Exception as error:  # Raised again unless it is transient and the tag exists.
            if not is_transient(error) or self.version.tag not in (tags := self.remote.tags()):
                raise
            self.check_same_version(tags)

    def check_same_version(self, tags: Mapping[str, str]) -> None:
        """Raise UserError if the existing tag names other content or its commit is damaged."""
        state = self.remote.state(tags[self.version.tag])
        if state.hash != self.manifest["hash"]:
            fault = "with other content"
        elif faults := verification.commit_faults(state, self.remote, self.folder):
            fault = f"that is damaged ({faults[0]})"
        else:
            return
        raise UserError(
            f"{self.remote.repo_id} has a version {self.version.tag} {fault}, and a version never changes. "
            f"Use --version {next_version(versions_among(tags)).tag}"
        )
