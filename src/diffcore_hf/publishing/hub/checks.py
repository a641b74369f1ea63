"""Checks: what is refused before anything is sent.

Owns the reasons in the folder, in the repository, and in who may see the original images. Sends nothing.
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

MOST_FILES = 100
"""Most files of one version: one commit carries them all, and loading requests each of them."""

ReadColumns = Callable[[str, Sequence[str]], "pa.Table"]
"""Path of a shard and names of columns -> the columns."""


def finished(out: str | Path) -> tuple[Folder, Manifest]:
    """Return a folder that can be published, every byte of it checked, and its manifest.

    Raises:
        UserError: not a folder of diffcore-hf, one that is incomplete or was changed, or one with too many files.
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
    if (count := len(manifest["files"])) > MOST_FILES - 3:
        raise UserError(
            f"{out} has {count} files, but a version is one commit of at most {MOST_FILES}. Export it again: the size "
            "of a shard grows with the dataset"
        )
    return folder, manifest


def check_same_dataset(remote: Remote, state: State, manifest: Manifest, folder: Path) -> None:
    """Check that the repository is empty or holds earlier versions of this dataset.

    A source without a name, which is a folder or a dataset in memory, is identified by its images: at least one of
    them has to be in both.

    Raises:
        UserError: it holds something else.
    """
    repo_id = remote.repo_id
    if state.manifest is None:
        others = [path for path in state.files if path not in (".gitattributes", "README.md")]
        if others:
            raise UserError(
                f"{repo_id} holds files that diffcore-hf did not write ({others[0]}); nothing was sent. "
                "Use another name"
            )
        return
    theirs = checked_manifest(state.manifest, f"{repo_id} at {state.commit[:12]}")
    own_path, their_path = (content["resolved"].get("source", {}).get("path") for content in (manifest, theirs))
    if own_path != their_path:
        raise UserError(
            f"{repo_id} holds an augmentation of {their_path}, this folder one of {own_path}; nothing was sent. "
            "Use another name"
        )
    if "/" in str(own_path) or manifest["hash"] == theirs.get("hash"):
        return
    own_ids = _row_ids(manifest, lambda path, columns: parquet.read_columns(folder / path, path, columns))
    their_ids = _row_ids(theirs, lambda path, columns: remote.columns(path, state.commit, columns), state.files)
    if own_ids and their_ids and not own_ids & their_ids:
        raise UserError(
            f"{repo_id} holds an augmentation of other images: this folder has none of them; nothing was sent. "
            "Use another name"
        )


def _row_ids(manifest: Manifest, read: ReadColumns, existing: Container[str] | None = None) -> set[str]:
    """Return the row ids of all images of the source; they are content hashes where the source is not on the Hub.

    Args:
        manifest: names the shards of config `references`.
        read: reads columns of a shard.
        existing: the files of the commit. A shard that was deleted by hand is skipped, so that a new version can
            repair the repository; None: all files exist.
    """
    row_ids: set[str] = set()
    for paths in manifest["configs"].get("references", {}).values():
        for path in paths:
            if existing is None or path in existing:
                row_ids |= set(read(path, ["row_id"])["row_id"].to_pylist())
    return row_ids


def shows_originals(manifest: Manifest) -> bool:
    """Return whether a folder has images of the source, in its rows or on its contact sheet."""
    return manifest.get("originals", True)


def check_may_be_shown(manifest: Manifest, api: HfApi, *, originals_are_mine: bool, out: str | Path) -> None:
    """Check that a public push does not show original images which may not be public.

    Args:
        manifest: of the folder.
        api: requests whether a source on the Hub is gated or private.
        originals_are_mine: the publisher states that they may be shown.
        out: the folder, for the remedy.

    Raises:
        UserError: the images may not be public.
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
    """Return why the images of a source may not be public; None where there is no such reason."""
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
