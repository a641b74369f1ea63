"""Roots: the folders that contain the image files of a dataset, for each kind of place from which it is loaded.

A snapshot in the Hub cache consists of links into `blobs/`. So a dataset from the Hub has both folders of its own
repository as roots, and no folder of another repository.
"""

from __future__ import annotations

import os
from pathlib import Path

from diffcore_hf.core.hub_cache import cache_folder
from diffcore_hf.core.image_files import ImageFiles
from diffcore_hf.core.loading import caches_of

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".lz4")
"""Suffixes of the archives that `datasets` extracts."""


def files_of(path: str, commit: str | None = None) -> ImageFiles:
    """Return the files that the image cells of a dataset may name.

    Args:
        path: the folder or the Hub id that the dataset was loaded from.
        commit: the commit of a dataset from the Hub; None for a folder.
    """
    if commit is None:
        folder = Path(os.path.realpath(path))
        # `datasets` extracts the archives of a folder into the caches of this folder.
        return ImageFiles((str(folder), os.path.realpath(caches_of(folder))), "")
    cached = Path(os.path.realpath(cache_folder(path, "dataset")))
    roots = (str(cached / "snapshots"), str(cached / "blobs"))
    return ImageFiles((*roots, *_extracted_from_snapshot(cache_folder(path, "dataset") / "snapshots" / commit)), "")


def files_below(root: str | None) -> ImageFiles:
    """Return the files that the cells of a dataset in memory may name: those below `source.root`, or none."""
    return ImageFiles((os.path.realpath(root),) if root else ())


def _extracted_from_snapshot(snapshot: Path) -> tuple[str, ...]:
    """Return the folders where `datasets` extracted the archives of one snapshot."""
    from datasets import config
    from datasets.utils.file_utils import hash_url_to_filename

    archives = [file for file in sorted(snapshot.rglob("*")) if file.suffix.lower() in _ARCHIVES]
    names = [hash_url_to_filename(os.path.abspath(file)) for file in archives]
    folders = [Path(config.EXTRACTED_DATASETS_PATH) / name for name in names]
    return tuple(os.path.realpath(folder) for folder in folders if folder.is_dir())
