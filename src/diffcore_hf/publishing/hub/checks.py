"""Checks: raises an error for an invalid push before anything is sent.

Owns the checks of the folder, of the repository, and of the right to publish the original images. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.manifest import Manifest, checked_manifest
from diffcore_hf.publishing.card.licences import is_known
from diffcore_hf.publishing.card.reproduction import is_hub
from diffcore_hf.publishing.hub import parquet
from diffcore_hf.publishing.hub.client_errors import describe, is_client_error
from diffcore_hf.publishing.hub.remote import Remote, State
from diffcore_hf.publishing.hub.timeouts import request_timeout

if TYPE_CHECKING:
    import pyarrow as pa
    from huggingface_hub import HfApi

MAX_FILES = 100
"""Maximum number of files of one version, because one commit adds them all and loading requests each of them."""

ReadColumns = Callable[[str, Sequence[str]], "pa.Table"]
"""Function of (path of a shard, names of columns) that returns these columns."""


def finished(out: str | Path) -> tuple[Folder, Manifest]:
    """Check every byte of a finished folder and return the folder and its manifest.

    Raises:
        UserError: diffcore-hf did not write the folder, or it is incomplete, was changed, or has too many files.
    """
    folder = Folder(out)
    if not folder.path.is_dir():
        raise UserError(f"{out} is not a folder. Give the --output of an augment or export")
    content = folder.manifest()
    if content is None and not folder.run_file.is_file():
        raise UserError(f"{out} was not written by diffcore-hf. Give the --output of an augment or export")
    if content is not None:
        checked_manifest(content, str(out))
    if faults := folder.faults():
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise UserError(
            f"{out} is incomplete or was changed ({faults[0]}{more}). Run augment or export again to repair it"
        )
    manifest = checked_manifest(content, str(out))
    if (count := len(manifest["files"])) > MAX_FILES - 3:
        raise UserError(
            f"{out} has {count} files, but a version has at most {MAX_FILES}. Export it again; the shards are then "
            "larger"
        )
    return folder, manifest


def check_same_dataset(remote: Remote, state: State, manifest: Manifest, folder: Path) -> None:
    """Check that the repository is empty or has earlier versions of this dataset.

    A source without a name is a folder or a dataset in memory. It is identified by its images: the repository and the
    folder must have at least one image in common.

    Raises:
        UserError: the repository has other content.
    """
    repo_id = remote.repo_id
    if state.manifest is None:
        others = [path for path in state.files if path not in (".gitattributes", "README.md")]
        if others:
            raise UserError(
                f"{repo_id} has files that diffcore-hf did not write ({others[0]}); nothing was sent. "
                "Use another repository name"
            )
        return
    theirs = checked_manifest(state.manifest, f"{repo_id} at {state.commit[:12]}")
    own_path, their_path = (content["resolved"].get("source", {}).get("path") for content in (manifest, theirs))
    if own_path != their_path:
        raise UserError(
            f"{repo_id} has an augmentation of {their_path}, but this folder is one of {own_path}; nothing was sent. "
            "Use another repository name"
        )
    if "/" in str(own_path) or manifest["hash"] == theirs.get("hash"):
        return
    own_ids = _row_ids(manifest, lambda path, columns: parquet.read_columns(folder / path, path, columns))
    their_ids = _row_ids(theirs, lambda path, columns: remote.columns(path, state.commit, columns), state.files)
    if own_ids and their_ids and not own_ids & their_ids:
        raise UserError(
            f"{repo_id} has an augmentation of other images, none of which is in this folder; nothing was sent. "
            "Use another repository name"
        )


def _row_ids(manifest: Manifest, read: ReadColumns, existing: Container[str] | None = None) -> set[str]:
    """Return the row ids of all images of the source. If the source is not on the Hub, they are content hashes.

    Args:
        manifest: manifest that lists the shards of the configuration `references`.
        read: function that reads columns of a shard.
        existing: paths of the files in the commit; None if all files exist. A missing shard is skipped, so that a new
            version can repair the repository.
    """
    row_ids: set[str] = set()
    for paths in manifest["configs"].get("references", {}).values():
        for path in paths:
            if existing is None or path in existing:
                row_ids |= set(read(path, ["row_id"])["row_id"].to_pylist())
    return row_ids


def shows_originals(manifest: Manifest) -> bool:
    """Return whether a folder publishes images of the source, in its rows or on its contact sheet."""
    return manifest.get("originals", True)


def check_may_be_shown(manifest: Manifest, api: HfApi, *, originals_are_mine: bool, out: str | Path) -> None:
    """Check that a public push does not publish original images that may have to stay private.

    Args:
        manifest: manifest of the folder.
        api: client with which a source on the Hub is looked up, to see if it is gated or private.
        originals_are_mine: True if the publisher states that the original images may be published.
        out: path of the folder, for the error message.

    Raises:
        UserError: the images may have to stay private.
    """
    if originals_are_mine or not shows_originals(manifest):
        return
    if reason := reason_against_public(manifest["resolved"]["source"], api):
        raise UserError(
            f"a public push would show the original images, and {reason}; nothing was sent. Leave them out "
            f"(diffcore-hf export {out} --output OUT2 --include_originals false), or state that you may publish them "
            "(--originals-are-mine)"
        )


def reason_against_public(source: Mapping[str, Any], api: HfApi) -> str | None:
    """Return why the images of a source may have to stay private; None if there is no reason."""
    if not is_hub(source):
        return "their source is not on the Hub"
    if not is_known(source.get("licence")):
        return f"the licence of {source['path']} is not known"
    try:
        with request_timeout():
            info = api.dataset_info(source["path"])
    except Exception as error:
        if not is_client_error(error):
            raise
        return f"{source['path']} cannot be read on the Hub ({describe(error)})"
    if info.private:
        return f"{source['path']} is private"
    return f"{source['path']} is gated" if info.gated else None
