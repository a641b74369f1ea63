"""Checks a folder, or a version on the Hub, against its own manifest and recipe. This module prints nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffcore_hf import __version__
from diffcore_hf.augmentation.export import dataset_info
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.core.errors import VALUE_FAULTS, UserError, environment_fault, innermost_cause
from diffcore_hf.core.folder import MANIFEST, Folder
from diffcore_hf.core.manifest import Comparison, Manifest, checked_manifest
from diffcore_hf.core.own_files import MAX_BYTES, read_own_file
from diffcore_hf.core.run_record import hashed_json
from diffcore_hf.publishing.audit.card_text import check_card, check_values
from diffcore_hf.publishing.audit.dataset import audit
from diffcore_hf.publishing.audit.files import CARD, COMPARISON, folder_files, listed_faults, other_files
from diffcore_hf.publishing.audit.report import Verification
from diffcore_hf.publishing.audit.shards import Shards
from diffcore_hf.publishing.card import worth
from diffcore_hf.publishing.card.dataset_card import configs_in_order, render_card
from diffcore_hf.publishing.card.recorded import card_facts, text_digest
from diffcore_hf.publishing.hub import parquet, verification
from diffcore_hf.publishing.hub.client_errors import as_user_error
from diffcore_hf.publishing.hub.remote import Remote, RemoteFile, open_remote
from diffcore_hf.publishing.hub.versions import versions_among
from diffcore_hf.publishing.signatures import check_signers
from diffcore_hf.workflows.compared_again import comparison_faults
from diffcore_hf.workflows.decided_again import fitted_again
from diffcore_hf.workflows.signing import check_signatures

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 256
"""Number of rows, with their images, in memory at a time."""
_MAX_TEXT = 2**24
"""Largest size of README.md and of compare.json."""


@dataclass(frozen=True)
class _Published:
    """The files of a dataset that is checked, in a folder or in a commit."""

    manifest: Manifest
    shards: Shards
    schema: Callable[[str], pa.Schema]
    """Function that returns the schema of a shard."""
    small_file: Callable[[str], bytes | None]
    """Function that returns the content of a small file; None if it does not exist."""


def verify(target: str, signer: str | None = None) -> list[str]:
    """Check a dataset; see `verified`. Return the faults, one line for each kind."""
    return verified(target, signer).faults


def verified(
    target: str, signer: str | None = None, rescore: int | None = None, regenerate: int | None = None
) -> Verification:
    """Check a folder, or a version such as `owner/name@v1.0.0`. Without `@`, the newest version is checked.

    Files are compared with the manifest, and the parts of a folder with the hashes in their names. Then the card is
    rendered again, and rows are compared with each other and with the rules of the recipe. The hash of each image is
    checked only in a folder. For a version on the Hub, the hash of each shard covers its images.

    Args:
        target: path of a folder, or a version.
        signer: path of a file of signers, one of whom must have signed the dataset; None: signatures are not checked.
        rescore: number of attempts that are embedded again; None: no image tower is loaded.
        regenerate: number of attempts that are generated again; None: no model is loaded.

    Raises:
        UserError: the folder, dataset or version does not exist, or the Hub failed.
    """
    for option, count in (("--rescore", rescore), ("--regenerate", regenerate)):
        if count is not None and count < 1:
            raise UserError(f"{option} is {count}. Use a number above 0")
    if signer is not None:
        check_signers(signer)
    if os.path.isdir(target):
        result, shards = _verify_folder(Folder(target), signer)
        if shards is not None and not result.faults:
            _make_again(Folder(target), shards, rescore, regenerate, result)
        elif rescore is not None or regenerate is not None:
            result.notes.append("no image was embedded or generated again, because the dataset has faults")
        return result.in_lines()
    repo_id, at, version = target.partition("@")
    if not at:
        version = _newest_version(target)
    if rescore is not None or regenerate is not None:
        raise UserError(
            f"{target} is a version on the Hub. Download it with `hf download {repo_id} --repo-type dataset --revision "
            f"{version} --local-dir OUT`, and use --rescore with the folder OUT"
        )
    result = _verify_version(repo_id, version, signer)
    if not at:
        result.notes.insert(0, f"{version} is the newest version of {repo_id}. Only this version was checked")
    return result.in_lines()


def _newest_version(target: str) -> str:
    """Return the tag of the newest version of a dataset on the Hub.

    Raises:
        UserError: the dataset has no version, it does not exist, or the Hub failed.
    """
    remedy = f"Give a folder, or e.g. {target}@v1.0.0 for a version on the Hub"
    try:
        remote = open_remote(target)
    except UserError:
        raise UserError(f"{target} is not a folder. {remedy}") from None
    with as_user_error(f"{target} is not a folder. On the Hub", remedy):
        listed = versions_among(remote.tags())
    if not listed:
        raise UserError(f"{target} is not a folder, and has no version on the Hub. {remedy}")
    return listed[-1].tag


def _make_again(
    folder: Folder, shards: Shards, rescore: int | None, regenerate: int | None, result: Verification
) -> None:
    """Embed and generate samples again; their faults are added to the result."""
    from diffcore_hf.workflows.made_again import regenerated, rescored

    for count, check in ((rescore, rescored), (regenerate, regenerated)):
        if count is not None:
            result.faults += check(folder, shards, count)


def _verify_folder(folder: Folder, signer: str | None) -> tuple[Verification, Shards | None]:
    """Check a folder. Return the result and its tables; None if the files are damaged."""
    faults = [str(damaged) for damaged in Ledger(folder.parts).damaged()]
    content = folder.manifest()
    if content is None:
        return Verification([*faults, *folder.faults()]), None
    manifest = checked_manifest(content, str(folder.path))
    if wrong := listed_faults(manifest):
        return Verification([*faults, *wrong]), None
    result = folder_files(folder.path, manifest)
    if result.faults:  # A link may lead to any file of the machine, so no file is read.
        return Verification([*faults, *result.faults], result.notes), None
    if wrong := verification.folder_faults(folder, manifest):
        return Verification([*faults, *wrong]), None

    def read(path: str, columns: Sequence[str]) -> Iterable[pa.Table]:
        return parquet.read_batches(folder.path / path, path, columns, _BATCH)

    def schema(path: str) -> pa.Schema:
        return parquet.schema(folder.path / path, path)

    def small_file(name: str) -> bytes | None:
        try:
            return read_own_file(folder.path / name, _max_bytes(name))
        except FileNotFoundError:
            return None

    shards = Shards(manifest, read, lambda path: schema(path).names, images=True)
    check_signatures(small_file, signer, result)
    _check_content(_Published(manifest, shards, schema, small_file), result)
    result.faults[:0] = faults
    return result, shards


def _verify_version(repo_id: str, version: str, signer: str | None) -> Verification:
    remote = open_remote(repo_id)
    with as_user_error(f"{repo_id}@{version}"):
        state = remote.state(remote.commit_of_version(version))
        if faults := verification.commit_faults(state, remote):
            return Verification(faults)
        manifest = checked_manifest(state.manifest, f"{repo_id}@{version}")
        if faults := listed_faults(manifest):
            return Verification(faults)
        result = Verification()
        other_files(state.files, manifest, result)
        published = _of_commit(remote, state.commit, state.files, manifest)
        check_signatures(published.small_file, signer, result)
        _check_content(published, result)
        return result


def _max_bytes(name: str) -> int:
    """Return the largest size of a published file that is not a shard."""
    return MAX_BYTES if name == MANIFEST else _MAX_TEXT


def _of_commit(remote: Remote, commit: str, files: Mapping[str, RemoteFile], manifest: Manifest) -> _Published:
    """Return the files of a commit."""

    def read(path: str, columns: Sequence[str]) -> Iterable[pa.Table]:
        return [remote.columns(path, commit, columns)]

    def schema(path: str) -> pa.Schema:
        return remote.schema(path, commit)

    def small_file(name: str) -> bytes | None:
        if name not in files:
            return None
        if files[name].size > _max_bytes(name):
            raise UserError(f"{name} is too large")
        return remote.download(name, commit).read_bytes()

    shards = Shards(manifest, read, lambda path: remote.column_names(path, commit), images=False)
    return _Published(manifest, shards, schema, small_file)


def _check_content(published: _Published, result: Verification) -> None:
    """Check the tables, the result of trainings and the card.

    Each value can be one that this package never writes. So an exception because of a value is a fault of the dataset.
    """
    comparison: Comparison | None = None
    try:
        result.faults += audit(published.shards, fitted_again)
        comparison = _checked_comparison(published, result)
        _check_rendered(published, comparison, result)
    except UserError:
        raise
    except VALUE_FAULTS as error:
        if environment_fault(error) is not None:
            raise
        result.faults.append(
            f"diffcore.json or a table has a value of another type or size than expected ({innermost_cause(error)}). "
            "Export the dataset again"
        )


def _checked_comparison(published: _Published, result: Verification) -> Comparison | None:
    """Return the content of compare.json if it belongs to this dataset, and check it."""
    try:
        content = published.small_file(COMPARISON)
        if content is None:
            return None
        comparison = worth.stored_comparison(content)
    except (OSError, ValueError) as error:
        result.faults.append(f"{COMPARISON} is not the result of a training ({innermost_cause(error)})")
        return None
    if hashed_json(json.loads(content)) != content:
        result.faults.append(f"{COMPARISON} does not have the hash of its own content")
    if comparison["data"].get("hash") != published.manifest.get("hash"):
        result.notes.append(f"{COMPARISON} was measured on another version of the dataset, so it is not checked")
        return None
    result.faults += comparison_faults(comparison, published.manifest)
    return comparison if len(comparison["arms"]) > 1 else None


def _check_rendered(published: _Published, comparison: Comparison | None, result: Verification) -> None:
    """Render the card again and compare it with the published one."""
    manifest = published.manifest
    try:
        content = published.small_file(CARD)
        text = None if content is None else content.decode()
    except (OSError, ValueError) as error:
        result.faults.append(f"{CARD} cannot be read ({innermost_cause(error)})")
        return
    if text is None:
        result.faults.append(f"{CARD} is missing. Export the dataset again")
        return
    if "card" not in manifest:  # An earlier version wrote the dataset.
        check_values(text, manifest, result)
        return
    try:
        info = dataset_info(published.schema, dict(configs_in_order(manifest["configs"])), manifest["files"])
        rendered = render_card(card_facts(json.loads(json.dumps(manifest)), comparison, info))
    except VALUE_FAULTS as error:
        result.faults.append(f"diffcore.json: the facts of the card are not valid ({innermost_cause(error)})")
        return
    same_version = manifest.get("version") == __version__ and manifest["card"].get("text") == text_digest()
    check_card(text, rendered, result, same_version=same_version, values=manifest)
