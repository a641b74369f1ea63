"""Loading: a version from the Hub as it was pushed, and never another one in its place.

Owns the promise. `load_dataset(revision="v2")` gives the rows of v1 without a word where the Hub fails and only v1 is
in the cache (huggingface/datasets#7928); here the tag is resolved to its commit first, and what was loaded has to be
that commit's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.loading import load_splits
from diffcore_hf.publishing.hub.versions import parse_version

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def load_augmented(
    path: str | Path, version: str | None = None, *, name: str | None = None, split: str | None = None
) -> Dataset | DatasetDict:
    """An augmented dataset, whole and of that very version.

    Args:
        path: `owner/name` on the Hub, or a local folder (which has no versions).
        version: of the Hub's, e.g. `v1.0.0`; a commit will do. Needed there: `main` may be between two versions.
        name: `default`, `generated`, `attempts`, `references` or `classes`.
        split: one of its splits; None: all of them.

    Raises:
        UserError: no such dataset, version, config or split; or what was loaded is not that version.
    """
    local = Path(path).is_dir()
    if version is None and not local:
        raise UserError(f"version of {path} is missing. See diffcore-hf versions {path}")
    if version is not None and local:
        raise UserError(f"version is {version!r}, but {path} is a folder here. Leave it out")
    revision = None if local else _revision(version)
    try:
        splits, _ = load_splits(str(path), name, None, revision, section="path")
    except ValueError as error:
        remedy = "Run augment or export again" if local else f"See diffcore-hf versions {path}"
        said = str(error).replace("path.path", "path").split(". Use --")[0].split(". Check --")[0]
        raise UserError(f"{path} {version or ''}: {said}. {remedy}") from error
    if split is None:
        return splits
    if split not in splits:
        raise UserError(f"split is {split!r}, which {path} does not have; its splits: {', '.join(splits)}")
    return splits[split]


def _revision(version: Any) -> str:
    from diffcore_hf.core.hub_cache import COMMIT

    return version if COMMIT.fullmatch(version) else parse_version(version).tag
