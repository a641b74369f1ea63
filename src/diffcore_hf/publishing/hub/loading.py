"""Loading: loads a version from the Hub exactly as it was pushed, and never another version.

Owns this guarantee. If the Hub fails and the cache has only v1, `load_dataset(revision="v2")` returns the rows of v1
without a warning (huggingface/datasets#7928). Here the tag is resolved to its commit first, and files of another commit
are an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.hub_cache import COMMIT
from diffcore_hf.core.loading import load_splits
from diffcore_hf.publishing.hub.versions import parse_version

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def load_augmented(
    path: str | Path, version: str | None = None, *, name: str | None = None, split: str | None = None
) -> Dataset | DatasetDict:
    """Load one version of an augmented dataset.

    Args:
        path: `owner/name` on the Hub, or a local folder (which has no versions).
        version: a version on the Hub, e.g. `v1.0.0`, or a full commit. It is required for a dataset on the Hub,
            because the latest commit of `main` may not be a version.
        name: name of the configuration: `default`, `generated`, `attempts`, `references` or `classes`.
        split: name of one split; None for all splits.

    Returns:
        The split, or all splits.

    Raises:
        UserError: the dataset, version, configuration or split does not exist, or the loaded files are of another
            version.
    """
    local = Path(path).is_dir()
    if version is None and not local:
        raise UserError(f"version of {path} is missing. See diffcore-hf versions {path}")
    if version is not None and local:
        raise UserError(f"version is {version!r}, but {path} is a local folder. Call load_augmented without a version")
    revision = None if local or version is None else _revision(version)
    try:
        splits, _ = load_splits(str(path), name, None, revision, section="path")
    except UserError as error:
        remedy = "Run augment or export again" if local else f"See diffcore-hf versions {path}"
        # The remedy of core/loading.py is removed, because it names options that this function does not have.
        reason = re.split(r"\. (?=[A-Z][a-z]+ )", str(error).replace("path.path", "path"))[0]
        raise UserError(f"{path} {version or ''}: {reason}. {remedy}") from error
    if split is None:
        return splits
    if split not in splits:
        raise UserError(f"split is {split!r}, which {path} does not have; its splits: {', '.join(splits)}")
    return splits[split]


def _revision(version: str) -> str:
    return version if COMMIT.fullmatch(version) else parse_version(version).tag
