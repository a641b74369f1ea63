"""Loading a dataset of a folder or of the Hub: pinned to its commit, and never an older state than what is there.

Owns what stands between us and `datasets.load_dataset`: the caches that would give stale rows, and errors in one line.
Does not look at columns or rows (augmentation/source.py, training/data.py).
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.hub_cache import COMMIT, HUB_TIMEOUT, cached_commit, record_commit
from diffcore_hf.core.quiet import quiet_datasets

if TYPE_CHECKING:
    from datasets import DatasetDict


def load_splits(
    path: str, name: str | None, data_files: str | None, revision: str | None, *, section: str
) -> tuple[DatasetDict, str | None]:
    """The splits of a dataset and, where it lies on the Hub, the commit.

    Args:
        path: a folder, or a Hub id.
        name: configuration; None: the default one.
        data_files: pattern of files inside `path`.
        revision: branch, tag or commit on the Hub.
        section: of the recipe, `source` or `data`, for the errors.

    Raises:
        UserError: no such dataset, or none that can be loaded.
    """
    from datasets import DatasetDict, load_dataset_builder

    local = Path(path).is_dir()
    # What would have been written here is not looked for on the Hub, where anybody may have the name.
    ours = path.startswith("out/") and Path("out").is_dir()
    if not local and (path.count("/") != 1 or path.startswith((".", "/", "~")) or ours):
        raise UserError(
            f"{section}.path is {path!r}, which is no folder here (is it relative to another?) and no Hub id. "
            f"Use --{section}.path"
        )
    commit = None if local else commit_of(path, revision, section=section)
    try:
        # A resolved path, because datasets names what it loads by the last part, and "." has none.
        place = str(Path(path).resolve()) if local else path
        cache = cache_of(Path(place)) if local else None
        builder = load_dataset_builder(
            place, name, data_files=data_files, revision=commit, cache_dir=cache and str(cache)
        )
        # When the Hub fails, datasets takes whatever version its cache holds, without a word.
        if commit and COMMIT.fullmatch(str(builder.hash)) and builder.hash != commit:
            raise UserError(f"the Hub failed, and the cache holds commit {builder.hash}, not {commit}. Run again")
        # What comes over the network has bars of its own; what lies here takes seconds.
        with quiet_datasets() if local else nullcontext():
            builder.download_and_prepare()
        splits = builder.as_dataset()
    except UserError:
        raise
    except Exception as error:  # datasets raises a dozen types here; all but those of the machine concern the source
        if environment_fault(error):
            raise
        raise UserError(
            f"{section}.path {path} cannot be loaded: {innermost_cause(error)}. Use another --{section}.path "
            f"or --{section}.name"
        ) from error
    if not isinstance(splits, DatasetDict):
        raise UserError(f"{section}.path {path} is no dataset with splits. Name its files or another folder")
    return splits, commit


def cache_of(folder: Path) -> Path:
    """Where `datasets` keeps a local folder as it is now.

    Its own cache knows a folder with a card by the folder's name and those of its files alone: another folder of that
    name, or other content, would come back as the old rows. Of each folder the last state alone is kept.
    """
    from datasets import config

    inside = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    seen = [_state(folder, name) for name in inside if not _NO_DATA.match(name.as_posix())]
    state = hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
    place = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    kept = Path(config.HF_DATASETS_CACHE) / "diffcore-hf" / place
    for older in kept.glob("*"):
        if older.name != state:
            shutil.rmtree(older, ignore_errors=True)
    return kept / state


# What datasets does not read: our private folder, pictures of the card, what a training left.
_NO_DATA = re.compile(r"\.|.*/\.|assets/|compare\.json$")


def _state(folder: Path, name: Path) -> tuple[str, object, int]:
    """What tells whether a file is still the one that was read; of a card its header alone matters."""
    path = folder / name
    if name.as_posix() == "README.md":
        return name.as_posix(), path.read_text(encoding="utf-8", errors="replace").partition("\n---\n")[0], 0
    return name.as_posix(), path.stat().st_size, path.stat().st_mtime_ns


def commit_of(path: str, revision: str | None, *, section: str) -> str:
    """The commit that the revision of a dataset on the Hub stands for now; offline, the one that the cache holds."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE or (revision and COMMIT.fullmatch(revision)):
        if commit := cached_commit(path, revision, "dataset"):
            return commit
        once = "Run once with the network" + (" (diffcore-hf plan --fetch)" if section == "source" else "")
        raise UserError(
            f"{section}.path is {path!r}, which is no folder here and not in the cache, and HF_HUB_OFFLINE is set. "
            f"{once}, or name a folder"
        )
    try:
        commit = HfApi().dataset_info(path, revision=revision, timeout=HUB_TIMEOUT).sha
    except Exception as error:
        raise UserError(
            f"{section}.path is {path!r}, which the Hub does not give: {innermost_cause(error)}. "
            "Correct the id, log in with a token that may read it, or name a folder"
        ) from error
    record_commit(path, revision, commit, "dataset")
    return commit
