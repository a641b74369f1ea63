"""Publications: the verbs that speak with the Hub, one function each. Here publishing meets a folder of a run.

Owns what a version is made of beside the files of its list: the card that keeps what a person wrote, and the result of
trainings. Prints nothing (cli.py does).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.folder import Folder, canonical_json
from diffcore_hf.core.hub_cache import COMMIT
from diffcore_hf.core.schema import prefix_of
from diffcore_hf.publishing.audit.dataset import audit
from diffcore_hf.publishing.audit.shards import Shards
from diffcore_hf.publishing.card import worth
from diffcore_hf.publishing.card.dataset_card import CLAIM, with_claim, with_place
from diffcore_hf.publishing.card.edits import card_configs, with_edits
from diffcore_hf.publishing.card.reproduction import is_hub
from diffcore_hf.publishing.hub import difference, originals, verification
from diffcore_hf.publishing.hub import retry as patience
from diffcore_hf.publishing.hub.push import Pushed
from diffcore_hf.publishing.hub.push import push as push_version
from diffcore_hf.publishing.hub.refusal import Refused
from diffcore_hf.publishing.hub.remote import Remote
from diffcore_hf.publishing.hub.versions import parse_version, versions_among

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

_BATCH = 256
"""Rows with their images that `verify` looks at at once."""


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
    waits: Sequence[float] = patience.WAITS,
) -> Pushed:
    """Publish a finished folder as one version of a dataset on the Hub.

    Args:
        out: the folder of a run or an export.
        repo_id: `owner/name`; made, and private, where it is not there.
        version: a semantic version, which becomes the tag.
        public: a new repository can be seen by everybody.
        originals_are_mine: everybody may see the original images, whatever their source says; the card names it.
        compare: compare.json of a training on this dataset; None: the folder's own, where there is one.
        create_pr: propose it in a pull request instead.
        dry_run: send nothing.
        waits: seconds before each repetition of a step that failed.

    Raises:
        UserError: in one line; no version was made visible or changed.
    """
    tag = parse_version(version).tag

    def beside(there: str | None) -> Mapping[str, bytes]:
        content = _beside(Folder(out), there, compare, originals_are_mine)
        return content | {"README.md": with_place(content["README.md"].decode(), repo_id, tag).encode()}

    return push_version(
        out, repo_id, version, beside, public=public, originals_are_mine=originals_are_mine,
        create_pr=create_pr, dry_run=dry_run, waits=waits,
    )  # fmt: skip


def _beside(folder: Folder, there: str | None, compare: str | Path | None, mine: bool) -> dict[str, bytes]:
    """The card and the result of trainings: what the folder has, with what people wrote here or on the Hub."""
    manifest = folder.manifest() or {}
    try:
        text = (folder.path / "README.md").read_text(encoding="utf-8")
        named = card_configs(text)
    except (OSError, ValueError, KeyError, TypeError):
        text, named = "", set()
    shards = {path for splits in manifest.get("configs", {}).values() for paths in splits.values() for path in paths}
    if named != shards:
        raise Refused(
            f"{folder.path / 'README.md'} is missing or does not name the shards that are there, so nobody could load "
            "the version. Run augment or export again to have it written"
        )
    given = _comparison(Path(compare), manifest.get("hash")) if compare else None
    measured = given or worth.read_comparison(folder.path, manifest.get("hash"))
    for said, place in ((measured, worth.START), (mine, CLAIM)):
        if said and place not in text:
            raise Refused(
                f"{folder.path / 'README.md'} has no line {place} any more, where it would say what is to be said. "
                "Run augment or export again to have it written"
            )
    text = worth.with_sentence(text, worth.sentence(measured))
    if mine:
        text = with_claim(text)
    try:
        text = with_edits(text, there)
    except ValueError as error:
        raise Refused(f"the card, here or on the Hub: {error}") from error
    return {"README.md": text.encode()} | ({"compare.json": canonical_json(measured)} if measured else {})


def _comparison(path: Path, manifest_hash: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        worth.sentence(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"compare is {path}, which is no compare.json of a training ({type(error).__name__}). Give the one in the "
            "--output of a --compare"
        ) from error
    if found["data"].get("hash") != manifest_hash:
        raise Refused(
            f"compare is {path}, which was measured on another dataset than this folder holds. Train on this one"
        )
    return found


@dataclass(frozen=True)
class Listed:
    """One version of a dataset."""

    tag: str
    commit: str
    rows: int
    kept: int
    recipe_digest: str


def versions(repo_id: str) -> list[Listed]:
    """The versions of a dataset, oldest number first; tags of other content are left out.

    Raises:
        UserError: no such dataset.
    """
    remote = _remote(repo_id)
    with _told(repo_id):
        tags = remote.tags()
        found = []
        for number in versions_among(tags):
            manifest = remote.manifest(tags[number.tag])
            if manifest and {"counts", "recipe_digest"} <= manifest.keys():
                counts = manifest["counts"]
                listed = Listed(number.tag, tags[number.tag], counts["rows"], counts["kept"], manifest["recipe_digest"])
                found.append(listed)
    return found


def diff(repo_id: str, old: str, new: str) -> difference.Difference:
    """What changed from a version to another, or to a folder here.

    Raises:
        UserError: no such dataset or version; a folder that is torn.
    """
    remote = _remote(repo_id)
    with _told(f"{repo_id} {old}"):
        before = _contents(remote, old)
        after = _folder_contents(Folder(new)) if Path(new).is_dir() else _contents(remote, new)
    manifests, rows, kept = zip(before, after, strict=True)  # rows: id -> hash of the original
    return difference.compare(*manifests, rows, kept)


def verify(what: str) -> list[str]:
    """What does not fit in a folder or in `owner/name@version`, a line each; [] where all fits.

    Files against the list that they came with, then rows against each other and the rules of the recipe. Images are
    hashed one by one in a folder alone: on the Hub the hashes of the files stand for them.

    Raises:
        UserError: no such folder, dataset or version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if Path(what).is_dir():
        folder = Folder(what)
        faults = verification.faults_here(what)
        if faults:
            return faults

        def read(path: str, columns: Sequence[str]) -> Iterator[pa.Table]:
            with pq.ParquetFile(folder.path / path) as file:
                for batch in file.iter_batches(_BATCH, columns=list(columns)):
                    yield pa.Table.from_batches([batch])

        return audit(Shards(folder.manifest(), read, lambda path: pq.read_schema(folder.path / path).names, True))
    repo_id, at, version = what.partition("@")
    if not at:
        raise Refused(f"{what} is no folder here. Use a folder, or e.g. {what}@v1.0.0 for a version on the Hub")
    remote = _remote(repo_id)
    with _told(what):
        state = remote.state(_commit(remote, version))
        if faults := verification.faults_of(state, remote):
            return faults

        def fetched(path: str, columns: Sequence[str]) -> list[pa.Table]:
            return [remote.columns(path, state.commit, columns)]

        return audit(Shards(state.manifest, fetched, lambda path: remote.names(path, state.commit), False))


def join_originals(
    path: str | Path, source: str | Path | DatasetDict | Dataset | None = None, version: str | None = None
) -> DatasetDict:
    """A dataset that was published without its original images, with the source's images put back.

    Args:
        path: `owner/name` on the Hub, or a folder.
        source: where the images are: a Hub id, a folder, or a dataset in memory; None: what the dataset says that it
            was made of, at that commit.
        version: of `path`, where it lies on the Hub.

    Raises:
        UserError: nothing there, or an image that the source does not have byte for byte as it was.
    """
    from diffcore_hf.core.loading import load_splits
    from diffcore_hf.publishing.hub.loading import load_augmented

    if version is None and not Path(path).is_dir():
        raise Refused(f"version of {path} is missing. See diffcore-hf versions {path}")
    manifest = _manifest(path, version)
    whole = load_augmented(path, version)
    references = load_augmented(path, version, name="references", split="train")
    made_of = manifest["resolved"]["source"]
    if source is None and not is_hub(made_of):
        raise Refused(f"source is missing: {path} was made of {made_of['path']}. Give the folder or the dataset")
    place = made_of["path"] if source is None else source
    if isinstance(place, (str, Path)):
        commit = made_of["identity"] if str(place) == made_of["path"] and is_hub(made_of) else None
        place = load_splits(str(place), manifest["recipe"]["source"].get("name"), None, commit, section="source")[0]
    image = manifest["recipe"]["source"].get("image", "image")
    prefix = prefix_of(next(iter(whole.values())).column_names)
    return originals.join_originals(whole, references, place, image=image, prefix=prefix)


def _manifest(path: str | Path, version: str | None) -> Mapping[str, Any]:
    if Path(path).is_dir():
        found = Folder(path).manifest()
    else:
        remote = _remote(str(path))
        with _told(f"{path} {version}"):
            found = remote.manifest(_commit(remote, version or ""))
    if found is None:
        raise Refused(f"{path} was not made by diffcore-hf: it has no diffcore.json")
    return found


def _remote(repo_id: str) -> Remote:
    from huggingface_hub import HfApi

    from diffcore_hf.publishing.hub.checks import check_name

    check_name(repo_id)
    return Remote(repo_id, HfApi())


def _commit(remote: Remote, version: str) -> str:
    return remote.commit_of(version if COMMIT.fullmatch(version) else parse_version(version).tag)


Contents = tuple[Mapping[str, Any], Mapping[str, str | None], difference.Kept]


def _contents(remote: Remote, version: str) -> Contents:
    commit = _commit(remote, version)
    manifest = remote.manifest(commit)
    if manifest is None:
        raise Refused(f"{remote.repo_id} {version} was not made by diffcore-hf")

    def read(path: str, columns: list[str]) -> pa.Table:
        return remote.columns(path, commit, columns)

    return manifest, *_rows_and_kept(manifest, read)


def _folder_contents(folder: Folder) -> Contents:
    import pyarrow.parquet as pq

    if faults := folder.faults():
        raise Refused(f"{folder.path} is torn or was changed ({faults[0]}). Run augment or export again to mend it")
    manifest = folder.manifest()
    return manifest, *_rows_and_kept(manifest, lambda path, columns: pq.read_table(folder.path / path, columns=columns))


def _rows_and_kept(manifest: Mapping[str, Any], read: Any) -> tuple[Mapping[str, str | None], difference.Kept]:
    configs = manifest["configs"]
    rows: dict[str, str | None] = {}
    kept: dict[tuple[str, int], str] = {}
    for path in _files(configs, "references"):
        table = read(path, ["row_id", "source_sha256"])
        rows |= dict(zip(table["row_id"].to_pylist(), table["source_sha256"].to_pylist(), strict=True))
    for path in _files(configs, "attempts"):
        kept |= difference.kept_of(read(path, ["row_id", "copy", "reason", "image_sha256"]))
    return rows, kept


def _files(configs: Mapping[str, Mapping[str, list[str]]], name: str) -> list[str]:
    return [path for files in configs.get(name, {}).values() for path in files]


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever the client raises becomes one line with a remedy."""
    try:
        with patience.listening():
            yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{what}: {patience.told(error)}. {patience.remedy(error)}") from error
