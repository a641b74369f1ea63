"""Checks: what is refused before anything is sent.

Owns the reasons that lie in the folder, in the name, or in whose images would be shown to whom. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.folder import Folder
from diffcore_hf.publishing.card.reproduction import is_hub
from diffcore_hf.publishing.hub.refusal import Refused
from diffcore_hf.publishing.hub.remote import Remote, State
from diffcore_hf.publishing.hub.retry import listening, told

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MOST_FILES = 100
"""Of one version: one commit carries them all, and a loader asks for each."""
_UNKNOWN = ("", "unknown", "other", "none")


def finished(out: str | Path) -> tuple[Folder, dict[str, Any]]:
    """A folder that can be published, every byte of it checked, and its manifest.

    Raises:
        UserError: no folder of ours, one that is torn or was changed, or one of too many files.
    """
    folder = Folder(out)
    if not folder.path.is_dir():
        raise Refused(f"{out} is no folder. Name the --output of an augment or export")
    if folder.run() is None and folder.manifest() is None:
        raise Refused(f"{out} is no folder of diffcore-hf. Name the --output of an augment or export")
    if faults := folder.faults():
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise Refused(f"{out} is torn or was changed ({faults[0]}{more}). Run augment or export again to mend it")
    manifest = folder.manifest()
    if (count := len(manifest["files"])) > MOST_FILES - 3:
        raise Refused(
            f"{out} has {count} files, but a version is one commit of at most {MOST_FILES}. Export it again: shards "
            "grow with the dataset"
        )
    return folder, manifest


def check_name(repo_id: str) -> None:
    """Raise UserError for a name that the Hub would refuse."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if repo_id.count("/") != 1:
        raise Refused(f"repository is {repo_id!r}, not `owner/name`. Use e.g. org/{repo_id.strip('/') or 'name'}")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise Refused(f"repository is {repo_id!r}, a name that the Hub refuses: {told(error)}") from None


def check_same_dataset(remote: Remote, state: State, manifest: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError where the repository holds something else than earlier versions of this dataset.

    A source without a name, a folder or a dataset in memory, is known by its images: one of them has to be in both.
    """
    repo_id = remote.repo_id
    if state.manifest is None:
        others = [path for path in state.files if path not in (".gitattributes", "README.md")]
        if others:
            raise Refused(
                f"{repo_id} holds files that diffcore-hf did not make ({others[0]}); nothing was sent. Use another name"
            )
        return
    import pyarrow.parquet as pq

    ours, theirs = (content.get("resolved", {}).get("source", {}).get("path") for content in (manifest, state.manifest))
    if ours != theirs:
        raise Refused(
            f"{repo_id} holds an augmentation of {theirs}, this folder one of {ours}; nothing was sent. "
            "Use another name"
        )
    if "/" in str(ours) or manifest["hash"] == state.manifest.get("hash"):
        return
    here = _row_ids(manifest, lambda path, columns: pq.read_table(folder / path, columns=list(columns)))
    there = _row_ids(state.manifest, lambda path, columns: remote.columns(path, state.commit, columns), state.files)
    if here and there and not here & there:
        raise Refused(
            f"{repo_id} holds an augmentation of other images: this folder has none of them; nothing was sent. "
            "Use another name"
        )


def _row_ids(manifest: Mapping[str, Any], read: Any, there: Container[str] | None = None) -> set[str]:
    """The ids of all images of the source: by content, where it is no dataset of the Hub.

    Of a commit that lost a file by hand what is left: such a repository can be pushed to again.
    """
    shards = manifest.get("configs", {}).get("references", {}).values()
    paths = [path for shard in shards for path in shard if there is None or path in there]
    return {one for path in paths for one in read(path, ["row_id"])["row_id"].to_pylist()}


def shows_originals(manifest: Mapping[str, Any]) -> bool:
    """Whether a folder holds images of the source, in its rows or on its contact sheet."""
    return manifest.get("originals", True)


def check_may_be_shown(manifest: Mapping[str, Any], api: HfApi, *, originals_are_mine: bool, out: str | Path) -> None:
    """Raise UserError where everybody would see original images that are perhaps not for everybody.

    Args:
        manifest: of the folder.
        api: asks whether a source on the Hub is gated or private.
        originals_are_mine: the publisher's word that they may be shown.
        out: the folder, for the remedy.
    """
    if originals_are_mine or not shows_originals(manifest):
        return
    if reason := not_for_everybody(manifest["resolved"]["source"], api):
        raise Refused(
            f"a public push would show the original images, and {reason}; nothing was sent. Leave them out "
            f"(diffcore-hf export {out} --output OUT2 --include_originals false), or say that they are yours to show "
            "(--originals-are-mine)"
        )


def not_for_everybody(source: Mapping[str, Any], api: HfApi) -> str | None:
    """Why the images of a source are perhaps not for everybody; None where nothing speaks against it."""
    if not is_hub(source):
        return "their source is not on the Hub"
    if str(source.get("licence") or "").strip().lower() in _UNKNOWN:
        return f"the licence of {source['path']} is not known"
    try:
        with listening():
            info = api.dataset_info(source["path"])
    except Exception as error:  # whatever it is, we cannot see that everybody may
        return f"{source['path']} cannot be looked at ({told(error)})"
    if info.private:
        return f"{source['path']} is private"
    return f"{source['path']} is gated" if info.gated else None
