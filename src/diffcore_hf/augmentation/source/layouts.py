"""Layouts: the split and the class of each photo, decided from the names of the folders.

Owns the written rules for folders of photos. They are pure functions of the list of paths:

- `class_folders`: a folder for each class. All rows are in split train.
- `split_folders`: a folder for each split, which holds a folder for each class.
- `class_split_folders`: a folder for each class, which holds a folder for each split.

The class is the name of the class folder. If class folders have the same name, the class is their path below
the source. Tables are in tables.py. The choice between photos, tables and data files is in folder.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from diffcore_hf.augmentation.source.files import UnreadFile
from diffcore_hf.augmentation.source.folder_tree import FolderTree, Steps
from diffcore_hf.augmentation.source.split_names import SPLITS, is_only_split, own_split_name, split_of

FolderLayoutName = Literal["class_folders", "split_folders", "class_split_folders"]

BESIDE_CLASSES = "photo beside the class folders"
BESIDE_SPLITS = "photo beside the split folders"
NO_CLASS_FOLDER = "photo in a split folder, in no class folder"
OTHER_FOLDER = "photo in a folder that is not a split"
NO_SPLIT_FOLDER = "photo in a class folder without split folders"


class FolderRow(NamedTuple):
    """One row of a folder of photos."""

    path: str
    """Path below the source folder."""
    class_name: str


@dataclass(frozen=True)
class FolderLayout:
    """The rows of a folder of photos."""

    name: FolderLayoutName
    description: str
    """One phrase for `plan`, such as `class folders, 3 splits by folder name`."""
    splits: Mapping[str, tuple[FolderRow, ...]]
    classes: tuple[str, ...]
    """The class names of all splits, sorted."""
    unread: tuple[UnreadFile, ...]
    """The photos that belong to no row."""


@dataclass(frozen=True)
class Misfit:
    """States why the photos of a folder do not fit a layout."""

    found: str
    """What the folder holds, as the end of the phrase `the folder holds ...`."""
    remedy: str


class _Place(NamedTuple):
    """The split and the class folder of one photo, or of all photos directly in one folder."""

    split: str
    steps: Steps
    """Names of the folders on the way to the photo, without the folder of the split."""
    rank: int = 0
    """Position of the folder among the folders of its split: photos of a lower rank come first."""
    reason: str = ""
    """Reason why the photo is not a row; empty for a row."""
    detail: str = ""


def folder_layout(paths: Sequence[str], wanted: FolderLayoutName | Literal["auto"] = "auto") -> FolderLayout | Misfit:
    """Decides the split and the class of each photo.

    Args:
        paths: paths of the photos below the source folder, with `/` between their parts.
        wanted: the layout to apply; `auto` recognises it.
    """
    steps_of = {path: tuple(path.split("/")[:-1]) for path in paths}
    tree = FolderTree(steps_of.values())
    if not tree.children:
        found = f"{_photos(len(paths))} and no folder with photos" if paths else "no photos"
        return Misfit(
            found,
            "Move the photos of each class into a folder of their own, or name a table with --source.table",
        )
    if wanted == "auto" and (misfit := _only_split_folders(tree)):
        return misfit
    name, places = _places(tree, wanted)
    if name is None:
        return Misfit(_summary(tree), "Use --source.layout auto")
    return _rows({path: places[steps] for path, steps in steps_of.items()}, name)


def _places(tree: FolderTree, wanted: str) -> tuple[FolderLayoutName | None, dict[Steps, _Place]]:
    """Returns the name of the layout that fits, and the place of the photos of each folder."""
    folders = list(tree.direct)
    if wanted in ("auto", "split_folders"):
        base = _wrapper(tree)
        if places := _top_splits(tree, base, every=wanted == "split_folders"):
            return "split_folders", places
    if wanted in ("auto", "class_split_folders") and (
        places := _splits_below_classes(tree, forced=wanted == "class_split_folders")
    ):
        return "class_split_folders", places
    if wanted == "auto" and (places := _inner_splits(tree)):
        return "split_folders", places
    if wanted in ("auto", "class_folders"):
        return "class_folders", {steps: _Place("train", steps) for steps in folders}
    return None, {}


def _wrapper(tree: FolderTree) -> Steps:
    """Returns the folder that holds all folders of photos, if a chain of single folders leads to it."""
    base: Steps = ()
    while True:
        below = tree.below(base)
        if len(below) != 1 or not tree.is_group(below[0]) or split_of(below[0][-1]):
            return base
        if all(not tree.is_group(folder) for folder in tree.below(below[0])):
            return base
        base = below[0]


def _top_splits(tree: FolderTree, base: Steps, *, every: bool) -> dict[Steps, _Place]:
    """Returns the place of each folder if the uppermost folders are splits that hold class folders; {} otherwise.

    An uppermost folder with another name is a split of its own if it has a class in common with a named split.

    Args:
        tree: all folders of photos.
        base: the folder that holds the uppermost folders.
        every: whether every uppermost folder with class folders is a split, even if its name means none.
    """
    tops = tree.below(base)
    twins = _splits_of_equal_classes(tree, tops)
    groups = [top for top in tops if tree.is_group(top) or top in twins]
    named = [top for top in groups if every or split_of(top[-1])]
    if not named or not (every or _are_splits(tree, tops, named)):
        return {}
    classes = _class_names(tree, named)
    depth, places = len(base), {}
    own_names = _own_names([top[-1] for top in groups if not split_of(top[-1])])
    for steps in tree.direct:
        top = steps[: depth + 1]
        rest = steps[depth + 1 :]
        if len(steps) <= depth:
            places[steps] = _Place("", (), 0, BESIDE_SPLITS)
        elif top in groups and (meaning := split_of(top[-1])):
            places[steps] = _Place(meaning.split, rest, meaning.rank)
        elif top in named or (top in groups and not classes.isdisjoint(tree.children[top])):
            places[steps] = _Place(own_names[top[-1]], rest)
        elif top in groups:
            option = "--source.layout split_folders reads it as a split"
            places[steps] = _Place("", (), 0, OTHER_FOLDER, f"its classes are in no split; {option}")
        else:
            places[steps] = _Place("", (), 0, NO_CLASS_FOLDER if every or split_of(top[-1]) else OTHER_FOLDER)
    return places


def _splits_of_equal_classes(tree: FolderTree, tops: list[Steps]) -> set[Steps]:
    """Returns each folder of a split in which a sub-folder has the same name as a sub-folder of another split.

    These folders hold class folders. The number of photos beside the class folders does not matter.
    """
    splits = {top: split_of(top[-1]) for top in tops if is_only_split(top[-1])}
    return {
        top
        for top, meaning in splits.items()
        if any(
            other and meaning and other.split != meaning.split and tree.children_of(top) & tree.children_of(beside)
            for beside, other in splits.items()
        )
    }


def _are_splits(tree: FolderTree, tops: list[Steps], named: list[Steps]) -> bool:
    """Returns whether folders with the name of a split are splits, and not classes of that name.

    They are classes if two or more other folders look like classes and hold at least as many photos.
    """
    classes = _class_names(tree, named)
    others = [top for top in tops if top not in named and not split_of(top[-1])]
    rivals = [top for top in others if not (tree.is_group(top) and not classes.isdisjoint(tree.children[top]))]
    return len(rivals) < 2 or sum(tree.total[top] for top in named) > sum(tree.total[top] for top in rivals)


def _class_names(tree: FolderTree, splits: list[Steps]) -> set[str]:
    names: set[str] = set()
    for split in splits:
        names |= tree.children[split]
    return names


def _own_names(folders: Sequence[str]) -> dict[str, str]:
    """Returns a split name for each folder name; different folders get different splits."""
    names: dict[str, str] = {}
    for folder in sorted(set(folders)):
        name = plain = own_split_name(folder)
        number = 2
        while name in names.values() or name in SPLITS:
            name, number = f"{plain}_{number}", number + 1
        names[folder] = name
    return names


def _splits_below_classes(tree: FolderTree, *, forced: bool) -> dict[Steps, _Place]:
    """Returns the place of each folder if each class folder holds the folders of its splits; {} otherwise."""
    leaves = [steps for steps in tree.direct if len(steps) > 1 and not tree.is_group(steps)]
    named = [steps for steps in leaves if split_of(steps[-1])]
    classes = {steps[:-1] for steps in named}
    photos = sum(tree.direct[steps] for steps in named)
    meanings = {split_of(steps[-1]) for steps in named}
    most = 2 * photos >= tree.total[()] - tree.direct[()]
    if not named or not (forced or (most and len(classes) > 1 and len(meanings) > 1)):
        return {}
    places = {}
    own_names = _own_names([steps[-1] for steps in leaves if not split_of(steps[-1])])
    for steps in tree.direct:
        if steps in classes:
            places[steps] = _Place("", (), 0, BESIDE_SPLITS)
        elif steps not in leaves or steps[:-1] not in classes:
            places[steps] = _Place("", (), 0, NO_SPLIT_FOLDER if steps else BESIDE_CLASSES)
        elif meaning := split_of(steps[-1]):
            places[steps] = _Place(meaning.split, steps[:-1], meaning.rank)
        else:
            places[steps] = _Place(own_names[steps[-1]], steps[:-1])
    return places


def _inner_splits(tree: FolderTree) -> dict[Steps, _Place]:
    """Returns the place of each folder if split folders lie between other folders (`a/train/cat`); {} otherwise."""
    deepest = max(len(steps) for steps in tree.direct)
    for level in range(1, deepest - 1):
        named = [steps for steps in tree.direct if len(steps) > level + 1 and split_of(steps[level])]
        if 2 * sum(tree.direct[steps] for steps in named) < tree.total[()] - tree.direct[()]:
            continue
        places = {steps: _Place("", (), 0, OTHER_FOLDER if steps else BESIDE_SPLITS) for steps in tree.direct}
        for steps in named:
            meaning = split_of(steps[level])
            assert meaning is not None
            places[steps] = _Place(meaning.split, (*steps[:level], *steps[level + 1 :]), meaning.rank)
        return places
    return {}


def _rows(places: Mapping[str, _Place], name: FolderLayoutName) -> FolderLayout | Misfit:
    """Returns the rows of photos whose places are known."""
    tree = FolderTree(place.steps for place in places.values() if not place.reason)
    class_of = {steps: tree.class_of(steps) for steps in tree.direct}
    folders = {folder for folder in class_of.values() if folder is not None}
    leaves = Counter(folder[-1] for folder in folders)
    common = _common(folders)
    names = {folder: folder[-1] if leaves[folder[-1]] == 1 else "/".join(folder[common:]) for folder in folders}
    rows: dict[str, list[tuple[int, FolderRow]]] = {}
    unread = []
    for path, place in places.items():
        folder = None if place.reason else class_of[place.steps]
        if folder is None:
            unread.append(UnreadFile(path, place.reason or BESIDE_CLASSES, place.detail))
        else:
            rows.setdefault(place.split, []).append((place.rank, FolderRow(path, names[folder])))
    if not rows:
        return Misfit(_summary(tree), "Use --source.layout auto")
    splits = {split: tuple(row for _, row in sorted(rows[split])) for split in ordered_splits(rows)}
    shared = sum(count > 1 for count in leaves.values())
    return FolderLayout(
        name, _description(name, len(splits), shared), splits, tuple(sorted(names.values())), tuple(unread)
    )


def _common(folders: set[Steps]) -> int:
    """Returns how many folders at the start of their paths all class folders share. Class names leave these out."""
    if not folders:
        return 0
    first, last = min(folders), max(folders)
    shared = 0
    while shared < min(len(first), len(last)) - 1 and first[shared] == last[shared]:
        shared += 1
    return shared


def ordered_splits(splits: Iterable[str]) -> list[str]:
    """Returns the usual splits in their order, then the others by name."""
    known = set(splits)
    return [split for split in SPLITS if split in known] + sorted(known - set(SPLITS))


def _only_split_folders(tree: FolderTree) -> Misfit | None:
    """Returns a misfit if all photos lie directly in folders with the name of a split, so that no folder is a class."""
    tops = tree.below(_single_chain(tree))
    twins = _splits_of_equal_classes(tree, tops)
    if not all(is_only_split(top[-1]) and not tree.is_group(top) and top not in twins for top in tops):
        return None
    names = ", ".join(repr(top[-1]) for top in tops)
    return Misfit(
        f"{_photos(tree.total[()])} in {names} and no folders of classes",
        "If these folders are the classes, use --source.layout class_folders. If a table has the classes, use "
        "--source.table",
    )


def _single_chain(tree: FolderTree) -> Steps:
    base: Steps = ()
    while len(below := tree.below(base)) == 1 and tree.is_group(below[0]) and not split_of(below[0][-1]):
        base = below[0]
    return base


def _description(name: FolderLayoutName, splits: int, shared: int) -> str:
    by_folder = f", {splits} split{'s' if splits != 1 else ''} by folder name"
    title = {
        "class_folders": "class folders",
        "split_folders": "class folders" + by_folder,
        "class_split_folders": "class folders that hold split folders" + by_folder,
    }[name]
    return title + ("; if class folders have the same name, the path is used as the class" if shared else "")


def _summary(tree: FolderTree) -> str:
    """Returns what a folder holds, for a message."""
    tops = [top[0] for top in tree.below(())]
    shown = ", ".join(repr(top) for top in tops[:5]) + (", ..." if len(tops) > 5 else "")
    return f"{_photos(tree.total[()])} in {len(tops)} folder{'s' if len(tops) != 1 else ''} ({shown})"


def _photos(count: int) -> str:
    return f"{count:,} photo{'s' if count != 1 else ''}"
