"""Loads a dataset from a folder or the Hub at a fixed commit, without outdated rows from a cache.

Replaces `datasets.load_dataset`, whose caches can return outdated rows and whose errors are long. Columns and rows are
checked elsewhere (augmentation/source, training/data).
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diffcore_hf.core.data_files import chosen_by_user, is_card, refuse_data_files, refuse_names
from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.hub_cache import COMMIT, HUB_TIMEOUT, cached_commit, record_commit
from diffcore_hf.core.quiet import quiet_datasets

if TYPE_CHECKING:
    from datasets import DatasetDict


class Loaded(NamedTuple):
    """A dataset that `datasets` loaded."""

    splits: DatasetDict
    commit: str | None
    """The commit of a dataset on the Hub; None for a folder."""
    data_files: tuple[str, ...]
    """Absolute paths or URLs of the files that were read."""


def load_splits(
    path: str, name: str | None, data_files: str | None, revision: str | None, *, section: str
) -> tuple[DatasetDict, str | None]:
    """Return the splits of a dataset, and its commit or None for a folder; see `load`."""
    loaded = load(path, name, data_files, revision, section=section)
    return loaded.splits, loaded.commit


def load(
    path: str,
    name: str | None,
    data_files: str | Mapping[str, Sequence[str]] | None,
    revision: str | None,
    *,
    section: str,
    follow_links: bool = False,
) -> Loaded:
    """Load a dataset with `datasets`.

    Args:
        path: a folder, or a Hub id.
        name: configuration; None means the default.
        data_files: pattern of files inside `path`, or such patterns by split.
        revision: branch, tag or commit on the Hub.
        section: section of the recipe for error messages, `source` or `data`.
        follow_links: whether symbolic links of a local folder may lead out of it.

    Raises:
        UserError: the dataset does not exist or cannot be loaded, or `datasets` would read a name as something else or
            a file that does not belong to the dataset (data_files.py).
    """
    from datasets import DatasetDict, load_dataset_builder

    local = Path(path).is_dir()
    # `out/birds` means an output folder that does not exist yet, not a dataset of the Hub user `out`.
    is_output = path.startswith("out/") and Path("out").is_dir()
    if not local and (path.count("/") != 1 or path.startswith((".", "/", "~")) or is_output):
        raise UserError(
            f"{section}.path is {path!r}, which is neither an existing folder nor a Hub id. Use --{section}.path"
        )
    commit = None if local else commit_of(path, revision, section=section)
    try:
        # The path is made absolute, because datasets uses its last component as a name, and "." has none.
        location = str(Path(path).resolve()) if local else path
        if local:
            refuse_names(location, data_files, section=section)
        cache = cache_of(Path(location)) if local else None
        if cache:
            make_cache(cache)
        builder = load_dataset_builder(
            location, name, data_files=data_files, revision=commit, cache_dir=cache and str(cache)
        )
        # If the Hub fails, datasets silently loads the version in its cache.
        if commit and COMMIT.fullmatch(str(builder.hash)) and builder.hash != commit:
            raise UserError(
                f"the Hub failed, and the cache contains commit {builder.hash}, not {commit}. Run the command again"
            )
        # A pattern of the user may name any file. The card and the links of a dataset may not.
        if not chosen_by_user(data_files):
            chosen = builder.config.data_files or {}
            refuse_data_files(chosen, path, section, local=local, follow_links=follow_links)
        # A download shows a progress bar; reading a local folder takes seconds and shows none.
        with quiet_datasets() if local else nullcontext():
            builder.download_and_prepare()
        splits = builder.as_dataset()
    except UserError:
        raise
    except (
        Exception
    ) as error:  # datasets raises many types here; all except faults of the machine are caused by the source
        if environment_fault(error):
            raise
        raise UserError(
            f"{section}.path {path} cannot be loaded: {innermost_cause(error)}. Use another --{section}.path "
            f"or --{section}.name"
        ) from error
    if not isinstance(splits, DatasetDict):
        raise UserError(f"{section}.path {path} is not a dataset with splits. Use another --{section}.path")
    chosen = builder.config.data_files or {}
    read: set[str] = set()
    for files in chosen.values():
        read.update(map(str, files))
    return Loaded(splits, commit, tuple(sorted(read)))


def cache_of(folder: Path) -> Path:
    """Return the cache folder of `datasets` for the current state of a local folder.

    If a folder contains a card (README.md), the default cache of `datasets` uses only the name of the folder and the
    names of its files as key. It would return old rows after a change of a file, or for another folder with the same
    name. Here the key contains the state of all files. Caches of older states are deleted.
    """
    inside = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = [_state(folder, name) for name in inside if not _NOT_DATA.match(name.as_posix())]
    state = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    states = caches_of(folder)
    for older in states.glob("*"):
        if older.name != state:
            shutil.rmtree(older, ignore_errors=True)
    return states / state


def make_cache(folder: Path) -> None:
    """Create a folder of the cache of `datasets`.

    Raises:
        UserError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the cache folder {folder} cannot be created ({error.strerror}). Set the environment variable HF_HOME "
            "to a folder that can be written"
        ) from error


def caches_of(folder: Path) -> Path:
    """Return the folder with the caches of all states of one local folder, whether it exists or not."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "diffcore-hf" / hashlib.sha256(str(folder).encode()).hexdigest()[:16]


# Files that datasets does not read: hidden files and folders, the pictures of the card, the result of a training.
_NOT_DATA = re.compile(r"\.|.*/\.|assets/|compare\.json$")


def _state(folder: Path, name: Path) -> tuple[str, object, int]:
    """Return (name, size, time) of a file. For a card: (name, header, 0), because only its header affects the rows."""
    path = folder / name
    if name.as_posix() == "README.md" and is_card(path):
        return name.as_posix(), path.read_text(encoding="utf-8", errors="replace").partition("\n---\n")[0], 0
    return name.as_posix(), path.stat().st_size, path.stat().st_mtime_ns


def commit_of(path: str, revision: str | None, *, section: str) -> str:
    """Return the commit of a revision of a dataset on the Hub. In offline mode, return the commit in the cache."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE or (revision and COMMIT.fullmatch(revision)):
        if cached := cached_commit(path, revision, "dataset"):
            return cached
        remedy = "Run once with the network" + (" (diffcore-hf plan --fetch)" if section == "source" else "")
        raise UserError(
            f"{section}.path is {path!r}, which is neither a folder nor in the cache, and HF_HUB_OFFLINE is set. "
            f"{remedy}, or give a folder"
        )
    try:
        commit = HfApi().dataset_info(path, revision=revision, timeout=HUB_TIMEOUT).sha
    except Exception as error:
        raise UserError(
            f"{section}.path is {path!r}, which cannot be read from the Hub: {innermost_cause(error)}. "
            "Correct the id, log in with a token that may read it, or give a folder"
        ) from error
    if commit is None:
        raise ValueError(f"the Hub returns no commit of {path} at {revision or 'main'}")
    record_commit(path, revision, commit, "dataset")
    return commit
