"""Push: a finished folder becomes a version of a repository, visible whole or not at all.

Owns the order: check, upload, one commit, read it back, and only then the tag by which the version is known. A version
never changes once its tag is there. Every step may be repeated: files that are stored are not sent again, a commit that
is there is recognised by the hash that its manifest carries, and so is a tag. So after any fault the same call ends in
the same version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.publishing.hub import checks, verification
from diffcore_hf.publishing.hub import retry as patience
from diffcore_hf.publishing.hub.changes import Changes, changes
from diffcore_hf.publishing.hub.refusal import Refused
from diffcore_hf.publishing.hub.remote import Remote, State
from diffcore_hf.publishing.hub.retry import WAITS, patiently
from diffcore_hf.publishing.hub.versions import Version, next_version, parse_version, versions_among

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

Beside = Callable[[str | None], Mapping[str, bytes]]
"""From the card that is there (None: there is none) to the files outside the manifest's list, card included."""


@dataclass(frozen=True)
class Pushed:
    """What a push came to."""

    url: str
    version: str
    commit: str | None
    """None where nothing was sent (dry run)."""
    private: bool
    changes: Changes
    """What the commit added and deleted; empty where it was there already."""
    pull_request: str | None = None
    tagged: bool = False
    """Whether the version can be seen since this push, and not since an earlier one."""
    created: bool = False
    """Whether the repository is new."""
    kept_back: str | None = None
    """Why a private repository should not be opened; None: nothing speaks against it."""


def push(
    out: str | Path,
    repo_id: str,
    version: str,
    beside: Beside,
    *,
    public: bool = False,
    originals_are_mine: bool = False,
    create_pr: bool = False,
    dry_run: bool = False,
    waits: Sequence[float] = WAITS,
) -> Pushed:
    """Publish a folder as one version.

    Args:
        out: the folder; checked against its own hashes before anything is sent.
        repo_id: `owner/name` of a dataset repository; made where it is not there.
        version: a semantic version.
        beside: makes the card (and what else is outside the list) for what is there already.
        public: a new repository can be seen by everybody; one that is there stays as it is.
        originals_are_mine: the publisher's word that everybody may see them.
        create_pr: propose the version in a pull request; it gets its tag when it is pushed again after the merge.
        dry_run: send nothing.
        waits: seconds before each repetition of a step that failed.

    Raises:
        UserError: in one line, with what is to be done; no version was made visible or changed.
    """
    from huggingface_hub import HfApi

    number = parse_version(version)
    checks.check_name(repo_id)
    folder, manifest = checks.finished(out)
    remote = Remote(repo_id, HfApi())
    try:
        return _push(
            folder.path, manifest, remote, number, beside, public=public, originals_are_mine=originals_are_mine,
            create_pr=create_pr, dry_run=dry_run, waits=waits,
        )  # fmt: skip
    except Refused:
        raise
    except Exception as error:  # the client raises a dozen types, and those of the network
        remedy = patience.remedy(error, "Nothing was made visible; run the same command again")
        raise Refused(f"push {repo_id} {number.tag}: {patience.told(error)}. {remedy}") from error


def _push(
    folder: Path, manifest: Mapping[str, Any], remote: Remote, number: Version, beside: Beside, *,
    public: bool, originals_are_mine: bool, create_pr: bool, dry_run: bool, waits: Sequence[float],
) -> Pushed:  # fmt: skip
    repo_id, api = remote.repo_id, remote.api
    info = patiently("repository", remote.head, waits)
    private = info.private if info else not public
    tags = patiently("tags", remote.tags, waits) if info else {}
    if not private and number.tag not in tags:
        checks.check_may_be_shown(manifest, api, originals_are_mine=originals_are_mine, out=folder)
    asks = private and checks.shows_originals(manifest) and not originals_are_mine
    kept_back = checks.not_for_everybody(manifest["resolved"]["source"], api) if asks else None
    url = f"{api.endpoint}/datasets/{repo_id}"
    if number.tag in tags:
        patiently("version", lambda: _same_version(remote, number, tags, manifest, folder), waits)
        return Pushed(url, number.tag, tags[number.tag], private, Changes({}, ()), kept_back=kept_back)
    if create_pr and info is None:
        raise Refused(f"{repo_id} does not exist, so nothing can be proposed to it. Push without --create-pr")
    if dry_run:
        planned = _planned(remote, folder, manifest, beside, waits) if info else _first(folder, manifest, beside)
        return Pushed(url, number.tag, None, private, planned, created=info is None)
    if info is None:
        patiently("create", lambda: _create(api, repo_id, private), waits)
        there = patiently("repository", remote.head, waits)
        if private and there and not there.private:  # somebody else's, made in between
            checks.check_may_be_shown(manifest, api, originals_are_mine=originals_are_mine, out=folder)
            private = False
    commit, made, request = _commit(remote, folder, manifest, number, beside, waits, create_pr=create_pr)
    patiently("read back", lambda: verification.check_commit(remote, commit, manifest, folder), waits)
    if request is None:
        patiently("tag", lambda: _tag(remote, number, commit, manifest, folder), waits)
    return Pushed(
        url, number.tag, commit, private, made, request, request is None, created=info is None, kept_back=kept_back
    )


def _create(api: HfApi, repo_id: str, private: bool) -> None:
    api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)


def _planned(
    remote: Remote, folder: Path, manifest: Mapping[str, Any], beside: Beside, waits: Sequence[float]
) -> Changes:
    state = patiently("state", lambda: remote.state(remote.commit_of("main")), waits)
    checks.check_same_dataset(remote, state, manifest, folder)
    return changes(folder, manifest, beside(_card(remote, state)), state)


def _first(folder: Path, manifest: Mapping[str, Any], beside: Beside) -> Changes:
    return changes(folder, manifest, beside(None), None)


def _card(remote: Remote, state: State) -> str | None:
    if "README.md" not in state.files:
        return None
    try:
        return remote.text("README.md", state.commit)
    except UnicodeDecodeError as error:
        raise Refused(f"README.md of {remote.repo_id} is no UTF-8 text ({error}). Mend it there, then push") from error


def _commit(
    remote: Remote, folder: Path, manifest: Mapping[str, Any], number: Version, beside: Beside,
    waits: Sequence[float], *, create_pr: bool,
) -> tuple[str, Changes, str | None]:  # fmt: skip
    """The commit that holds the version, what it changed, and the address of its pull request.

    Repeated as a whole: a reply that was lost shows as a head that holds the version already, and a head that somebody
    else has moved means other changes.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    title = f"Version {number.tag} ({manifest['hash'][:16]})"

    def once() -> tuple[str, Changes, str | None]:
        state = remote.state(remote.commit_of("main"))
        checks.check_same_dataset(remote, state, manifest, folder)
        wanted = changes(folder, manifest, beside(_card(remote, state)), state)
        if not wanted and create_pr:
            raise Refused(f"{remote.repo_id} holds this content already; nothing to propose. Push without --create-pr")
        if not wanted:
            return state.commit, wanted, None
        if create_pr and (request := _proposed(remote, title)):
            commit, address = request
            proposed = remote.state(commit)
            if changes(folder, manifest, beside(_card(remote, proposed)), proposed):
                raise Refused(
                    f"{address} proposes {number.tag} already, with another card or other files than this folder has "
                    "now. Close it there, then push again"
                )
            return commit, wanted, address
        additions = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in wanted.add.items()
        ]
        # Before the commit, so that it carries pointers alone and is over in a moment. One by one: over Xet the files
        # of a call are packed together as they come to be read, and the next time otherwise, so that what is stored of
        # a call that was cut off would be sent again.
        for addition in additions:
            remote.api.preupload_lfs_files(
                remote.repo_id, [addition], repo_type="dataset", revision="main", create_pr=create_pr, free_memory=False
            )
        made = remote.api.create_commit(
            remote.repo_id,
            [*additions, *(CommitOperationDelete(path) for path in wanted.delete)],
            commit_message=title,
            repo_type="dataset",
            revision="main",
            parent_commit=state.commit,
            create_pr=create_pr,
        )
        return made.oid, wanted, made.pr_url

    return patiently("commit", once, waits)


def _proposed(remote: Remote, title: str) -> tuple[str, str] | None:
    """Commit and address of the open pull request of that title: its reply was lost, or it was asked for before."""
    asked = remote.api.get_repo_discussions(
        remote.repo_id, repo_type="dataset", discussion_type="pull_request", discussion_status="open"
    )
    for one in asked:
        if one.title == title:
            return remote.commit_of(one.git_reference), one.url
    return None


def _tag(remote: Remote, number: Version, commit: str, manifest: Mapping[str, Any], folder: Path) -> None:
    """Set the tag; where it is there already (the reply was lost, or somebody else's), it has to mean the same."""
    try:
        remote.api.create_tag(remote.repo_id, tag=number.tag, revision=commit, repo_type="dataset")
    except Exception as error:
        if not patience.passes(error) or number.tag not in (tags := remote.tags()):
            raise
        _same_version(remote, number, tags, manifest, folder)


def _same_version(
    remote: Remote, number: Version, tags: Mapping[str, str], manifest: Mapping[str, Any], folder: Path
) -> None:
    """Raise UserError where a tag that is there holds something else, or not all of it: set by hand, or damaged."""
    state = remote.state(tags[number.tag])
    if state.hash != manifest["hash"]:
        fault = "with other content"
    elif faults := verification.faults_of(state, remote, folder):
        fault = f"that is damaged ({faults[0]})"
    else:
        return
    raise Refused(
        f"{remote.repo_id} has a version {number.tag} {fault}, and a version never changes. "
        f"Use --version {next_version(versions_among(tags)).tag}"
    )
