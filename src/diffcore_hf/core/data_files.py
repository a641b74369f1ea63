"""Data files: checks that the files which `datasets` reads belong to the dataset.

A card can name any file of the machine, another repository or an address of the network as data of its dataset. A
symbolic link can lead to any file as well. `datasets` reads all of them.

Owns these checks, and the check that `datasets` uses a file name without changes. The loading itself is in loading.py,
and the checks of image files are in image_files.py.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.image_formats import IMAGE_SUFFIXES

_CARD_FILES = ("README.md", ".huggingface.yaml", "dataset_infos.json")
"""Files that `datasets` reads as the description of the folder in which they are."""
_OPENED = ".huggingface.yaml"
"""`datasets` opens this description file even if it is not a regular file."""
MAX_CARD = 2**24
"""Largest size of a description file in bytes."""

_SPECIAL_IN_FOLDER = re.compile(r"[$*?\[\]{}]|::|://")
_SPECIAL_IN_NAME = re.compile(r"[$]|::|://")


def is_card(path: Path) -> bool:
    """Return whether a path is a regular file of at most MAX_CARD bytes, so that a description can be read from it."""
    try:
        state = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_size <= MAX_CARD


def refuse_names(location: str, data_files: str | Mapping[str, Sequence[str]] | None, *, section: str) -> None:
    """Raise UserError if `datasets` would change the path of a folder, or of a file in it, before it opens the path.

    `datasets` replaces `$NAME` by the environment variable of that name. It treats the path of the folder as a pattern,
    and `::` as a chain of archives. The message contains the names as they are on the disk.
    """
    if found := _SPECIAL_IN_FOLDER.search(location):
        raise UserError(
            f"{section}.path {location} contains {found.group()!r}, which `datasets` does not read as a name. "
            "Rename the folder"
        )
    if isinstance(data_files, str) and "$" in data_files:
        raise UserError(f"{section}.data_files is {data_files!r} with '$'. Rename the files, or use * in its place")
    for name in _CARD_FILES:
        card = Path(location, name)
        if (card.is_file() or (card.exists() and name == _OPENED)) and not is_card(card):
            raise UserError(
                f"{section}.path {location} contains {name!r}, which is not a regular file of at most "
                f"{MAX_CARD // 2**20} MiB. Remove it"
            )
    for folder, folders, names in os.walk(location):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for each in (*folders, *names):
            if (found := _SPECIAL_IN_NAME.search(each)) and not each.startswith("."):
                shown = os.path.relpath(os.path.join(folder, each), location)
                raise UserError(
                    f"{section}.path {location} contains {shown!r}, and `datasets` does not read {found.group()!r} as "
                    "part of a name. Rename it"
                )


def chosen_by_user(data_files: str | Mapping[str, Sequence[str]] | None) -> bool:
    """Return whether the user's own pattern names files outside the dataset. Such files are read."""
    pattern = data_files if isinstance(data_files, str) else ""
    return "://" in pattern or os.path.isabs(pattern) or ".." in pattern.split("/")


def refuse_data_files(
    data_files: Mapping[str, Iterable[object]], path: str, section: str, *, local: bool, follow_links: bool
) -> None:
    """Raise UserError if `datasets` would read a file that does not belong to the dataset.

    Images are not checked here, because an image cell that names a file outside is one unreadable row.

    Args:
        data_files: the absolute paths or the URLs of the files of each split.
        path: the folder, or the Hub id.
        section: section of the recipe for error messages.
        local: whether `path` is a folder.
        follow_links: whether symbolic links may lead out of the folder.
    """
    for file in map(str, chain.from_iterable(data_files.values())):
        shown = re.sub(rf"^hf://datasets/{re.escape(path)}@[^/]*/", "", file)
        option = ", or --source.data_files" if section == "source" else ""
        if "$" in file:
            raise UserError(
                f"{section}.path {path} contains {shown!r}, and `datasets` does not read '$' as part of a name. "
                f"Use another --{section}.path{option}"
            )
        if file.lower().endswith(IMAGE_SUFFIXES) and "::" not in file:
            continue
        if not local and not _in_repository(file, path):
            raise UserError(
                f"the card of {section}.path {path} names {shown!r}, which is not a file of this repository. "
                f"Use another --{section}.path{option}"
            )
        if local and (fault := _outside(file, os.path.realpath(path), follow_links)):
            by_option = "Use --source.follow_links outside" if fault == _LINK and section == "source" else ""
            remedy = by_option or "Copy the file into the folder and correct the card (README.md)"
            raise UserError(f"{section}.path {path} names the data file {shown!r}, {fault}. {remedy}")


_LINK = "a link that leads out of the folder"


def _in_repository(file: str, repository: str) -> bool:
    """Return whether a URL names a file of a Hub repository, or a file in an archive of this repository."""
    hops = file.split("::")
    inside = hops[-1].startswith(f"hf://datasets/{repository}@") and ".." not in hops[-1].split("/")
    return inside and all(re.match(r"[a-z0-9]+://", hop) for hop in hops)


def _outside(file: str, folder: str, follow_links: bool) -> str:
    """Return why a data file does not belong to a local folder; "" if it belongs to the folder."""
    archive = file.split("::")[-1]
    if "://" in archive or not Path(os.path.normpath(archive)).is_relative_to(folder):
        return "which is outside the folder"
    inside = any(Path(os.path.realpath(archive)).is_relative_to(root) for root in _roots(Path(folder)))
    return "" if inside or follow_links else _LINK


def _roots(folder: Path) -> tuple[Path, ...]:
    """Return the folders with the files of a local folder. A snapshot in the Hub cache has its files in `blobs`."""
    if folder.parent.name == "snapshots":
        return folder, folder.parent.parent / "blobs"
    return (folder,)
