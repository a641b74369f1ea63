"""Publishes a finished folder as one version of a dataset on the Hub.

Owns the files of a version that the manifest does not list: the card, with the text that people added, and the result
of trainings. This module prints nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.manifest import Comparison
from diffcore_hf.core.run_record import hashed_json
from diffcore_hf.publishing.card import worth
from diffcore_hf.publishing.card.code_blocks import with_location
from diffcore_hf.publishing.card.dataset_card import CLAIM, with_claim
from diffcore_hf.publishing.card.edits import card_shards, with_edits
from diffcore_hf.publishing.hub.push import PushResult
from diffcore_hf.publishing.hub.push import push as push_version
from diffcore_hf.publishing.hub.retry import BACKOFF
from diffcore_hf.publishing.hub.versions import parse_version
from diffcore_hf.publishing.signatures import check_key
from diffcore_hf.workflows.signing import Signer


def push(
    out: str | Path,
    repo_id: str,
    version: str,
    *,
    public: bool = False,
    originals_are_mine: bool = False,
    compare: str | Path | None = None,
    create_pr: bool = False,
    dry_run: bool = False,
    sign: str | None = None,
    backoff: Sequence[float] = BACKOFF,
) -> PushResult:
    """Publish a finished folder as one version of a dataset on the Hub.

    Args:
        out: the folder of a run or an export.
        repo_id: `owner/name`; a repository that does not exist is created as private.
        version: a semantic version, which becomes the tag.
        public: create a new repository as public.
        originals_are_mine: declare that the original images may be public, even if their source does not state it. The
            card repeats the declaration.
        compare: compare.json of a training on this dataset. None means the file in the folder, if it exists.
        create_pr: propose the version in a pull request.
        dry_run: send nothing.
        sign: path of an SSH key that signs the version; None: a signature in the folder is published.
        backoff: seconds before each retry of a step that failed.

    Raises:
        UserError: the version cannot be published; no version was added or changed.
    """
    tag = parse_version(version).tag
    check_key(sign)
    signer = Signer(sign)

    def extra_files(card_on_hub: str | None) -> Mapping[str, bytes]:
        files = _extra_files(Folder(out), card_on_hub, compare, originals_are_mine)
        files |= {"README.md": with_location(files["README.md"].decode(), repo_id, tag).encode()}
        return files | signer.signatures(Folder(out).path, files)

    return push_version(
        out,
        repo_id,
        version,
        extra_files,
        public=public,
        originals_are_mine=originals_are_mine,
        create_pr=create_pr,
        dry_run=dry_run,
        backoff=backoff,
    )


def _extra_files(
    folder: Folder, card_on_hub: str | None, compare: str | Path | None, originals_are_mine: bool
) -> dict[str, bytes]:
    """Return the card and compare.json of the folder. The card includes edits made in the folder or on the Hub."""
    manifest = folder.manifest() or {}
    card_file = folder.path / "README.md"
    try:
        text = card_file.read_text(encoding="utf-8")
        named = card_shards(text)
    except (OSError, UnicodeDecodeError, UserError):
        text, named = "", set()
    shards: set[str] = set()
    for splits in manifest.get("configs", {}).values():
        for paths in splits.values():
            shards |= set(paths)
    if named != shards:
        raise UserError(
            f"{card_file} is missing or does not name the folder's shards, so the version could not be loaded. "
            "Run augment or export again to write it"
        )
    manifest_hash = manifest.get("hash")
    given = _read_comparison(Path(compare), manifest_hash) if compare else None
    comparison = given or worth.read_comparison(folder.path, manifest_hash)
    for needed, marker in ((comparison is not None, worth.START), (originals_are_mine, CLAIM)):
        if needed and marker not in text:
            raise UserError(
                f"{card_file} has no line {marker}, which marks the position of a sentence. "
                "Run augment or export again to write it"
            )
    text = worth.with_sentence(text, worth.sentence(comparison))
    if originals_are_mine:
        text = with_claim(text)
    try:
        text = with_edits(text, card_on_hub)
    except UserError as error:
        raise UserError(f"the card, in the folder or on the Hub: {error}") from error
    extra = {"README.md": text.encode()}
    return extra if comparison is None else extra | {"compare.json": hashed_json(comparison)}


def _read_comparison(path: Path, manifest_hash: str | None) -> Comparison:
    """Return the comparison in a file.

    Raises:
        UserError: the file is not a comparison, or it was measured on a dataset with another hash.
    """
    try:
        comparison = worth.stored_comparison(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            f"compare is {path}, which is not a compare.json of a training ({innermost_cause(error)}). "
            "Give the file in the --output of "
            "a training with --compare"
        ) from error
    if comparison["data"].get("hash") != manifest_hash:
        raise UserError(f"compare is {path}, which was measured on another dataset. Train on this folder")
    return comparison
