"""The schemas of the two files that describe a dataset: diffcore.json and compare.json.

Owns the types, and the check that a manifest from another source has these types. Does not read or write a file
(folder.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.run_record import has_valid_text


class ClassRow(NamedTuple):
    """The attempts and images of one class."""

    name: str
    attempts: int
    rejected_generated: float | None
    """Share of the attempts that were rejected, in [0, 1]; None if no attempt is decided."""
    rejected_real: float | None
    """Share of the real images that the policy would reject, in [0, 1]; None if no real image can be compared."""
    kept: int
    generated: float
    """Share of generated images among all images of the class, in [0, 1]."""
    similarity: float | None
    """Mean S(I, G) over the counterparts, in [-1, 1]."""
    bound: float | None = None
    """Bound of the policy: a rank, a similarity or a share; None if the policy has no bound."""


class FileEntry(TypedDict):
    """One entry of the list of published files in the manifest."""

    path: str
    size: int
    sha256: str
    rows: NotRequired[int]
    """Number of rows; only shards have it."""


class Resolved(TypedDict):
    """The source, model and filter of a run, each with its path, identity and licence."""

    source: dict[str, Any]
    model: dict[str, Any]
    filter: dict[str, Any]


class Counts(TypedDict):
    """Counts of a run: rows of the augmented split, units by status, attempts and references."""

    rows: int
    heldout: int
    unlabelled: int
    planned: int
    kept: int
    exhausted: int
    failed: int
    pending: int
    attempts: int
    references: int


class SourceCounts(TypedDict):
    """Counts of what is unusual in the source."""

    unread_files: int
    unreadable_images: int
    identical_in_class: int
    """Images that occur several times in one class."""
    label_conflicts: int
    """Images that occur in different classes."""
    across_splits: int
    """Images that occur in different splits."""


class Manifest(TypedDict):
    """The content of diffcore.json."""

    format: int
    recipe: dict[str, Any]
    attempt_digest: str
    recipe_digest: str
    resolved: Resolved
    counts: Counts
    configs: dict[str, dict[str, list[str]]]
    """Name of a dataset configuration -> name of a split -> paths of its shards."""
    files: list[FileEntry]
    source_report: NotRequired[SourceCounts]
    layout: NotRequired[str]
    originals: NotRequired[bool]
    """Whether the images of the source are published. A missing key means true."""
    stages: NotRequired[dict[str, str]]
    """Versions of the stages and of the strategy, which both digests cover."""
    version: NotRequired[str]
    """Version of this package that wrote the card."""
    captions: NotRequired[dict[str, Any]]
    """Embeddings of captions that the policy uses and no table contains (workflows/decided_again.py)."""
    card: NotRequired[dict[str, Any]]
    """The facts of the card that no table contains (publishing/card/recorded.py)."""
    hash: NotRequired[str]
    """Hash of the body, added when the file is written."""


class ComparedData(TypedDict):
    """The dataset of a comparison."""

    path: str
    hash: str | None
    commit: str | None


class ComparedArm(TypedDict):
    """One arm of a comparison."""

    name: str
    top1: float
    difference: float
    """Difference in top-1 to the first arm, paired by seed."""
    half_interval: float | None
    """Half of the width of the 95 % interval of the difference; None with one seed."""
    seen: bool | None
    """Whether the interval excludes zero."""
    steps: int


class Comparison(TypedDict):
    """The keys of compare.json that a dataset card uses."""

    data: ComparedData
    arms: list[ComparedArm]
    seeds: list[int]
    split: str
    images: int
    model: str
    batch_size: int


_REQUIRED: Mapping[str, type] = {
    "recipe": dict,
    "recipe.source": dict,
    "recipe.filter": dict,
    "recipe.filter.policy": dict,
    "recipe.filter.policy.name": str,
    "attempt_digest": str,
    "recipe_digest": str,
    "resolved": dict,
    "resolved.source": dict,
    "counts": dict,
    **{f"counts.{name}": int for name in Counts.__annotations__},
    "configs": dict,
    "files": list,
}
"""Required dotted key -> type of its value."""
_OPTIONAL: Mapping[str, type | tuple[type, ...]] = {
    "recipe.kind": str,
    "recipe.fraction": (int, float),
    "recipe.seed": int,
    "recipe.copies": int,
    "recipe.max_attempts": int,
    "recipe.model": dict,
    "recipe.strategy": dict,
    "recipe.strategy.name": str,
    "recipe.strategy.targets": (str, type(None)),
    "recipe.prompts": (dict, type(None)),
    "recipe.select": (dict, type(None)),
    "recipe.source.split": str,
    "recipe.source.image": str,
    "recipe.source.label": str,
    "recipe.source.grey_range": str,
    "recipe.source.holdout": (int, float),
    "recipe.filter.references": int,
    "resolved.model": (dict, type(None)),
    "layout": str,
    "originals": bool,
    "stages": dict,
    "version": str,
    "captions": dict,
    "card": dict,
    "source_report": (dict, type(None)),
    "hash": str,
    **{f"source_report.{name}": int for name in SourceCounts.__annotations__},
}
"""Dotted key -> type of its value. Datasets of earlier versions do not have all of these keys."""
_FILE_REQUIRED: Mapping[str, type] = {"path": str, "size": int, "sha256": str}


def checked_manifest(content: Mapping[str, Any] | None, where: str) -> Manifest:
    """Return the content as a manifest.

    Args:
        content: parsed content of diffcore.json; None if the file does not exist.
        where: folder or version, for the error message.

    Raises:
        UserError: there is no manifest, a key is missing, or a value has another type.
    """
    if content is None:
        raise UserError(f"{where} has no readable diffcore.json. Give a dataset that diffcore-hf exported")
    if not has_valid_text(content):
        raise UserError(f"{where}: diffcore.json has a text that is not valid Unicode. Export the dataset again")
    for key, kind in _REQUIRED.items():
        if not isinstance(_value(content, key), kind):
            raise _invalid(where, key)
    if wrong := mistyped_key(content):
        raise _invalid(where, wrong)
    for name, splits in content["configs"].items():
        shards = list(splits.values()) if isinstance(splits, dict) else [None]
        if not all(isinstance(paths, list) and all(map(is_file_path, paths)) for paths in shards):
            raise UserError(f"{where}: config {name!r} in diffcore.json is not valid. Export it again")
    for number, entry in enumerate(content["files"]):
        fits = isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in _FILE_REQUIRED.items())
        fits = fits and isinstance(entry.get("rows", 0), int)
        if not fits or not is_file_path(entry["path"]):
            raise UserError(f"{where}: entry {number} of 'files' in diffcore.json is not valid. Export it again")
    return cast(Manifest, content)


def mistyped_key(content: Mapping[str, Any]) -> str | None:
    """Return the first dotted key of diffcore.json that has a value of another type; None if there is none."""
    for key, kind in {**_REQUIRED, **_OPTIONAL}.items():
        if _has(content, key) and not isinstance(_value(content, key), kind):
            return key
    return None


def is_file_path(value: Any) -> bool:
    """Return whether a value is a text that can be the path of a file."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        names = value.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    return all(len(name) <= 255 for name in names) and len(value.encode()) < 4096


def _invalid(where: str, key: str) -> UserError:
    return UserError(f"{where}: diffcore.json has no valid {key!r}. Give a dataset that diffcore-hf exported")


def _has(content: Any, key: str) -> bool:
    """Return whether a dotted key exists."""
    section, _, name = key.rpartition(".")
    parent = _value(content, section) if section else content
    return isinstance(parent, Mapping) and name in parent


def _value(content: Any, key: str) -> Any:
    """Return the value of a dotted key; None if the key or one of its parents is missing."""
    for name in key.split("."):
        content = content.get(name) if isinstance(content, Mapping) else None
    return content
