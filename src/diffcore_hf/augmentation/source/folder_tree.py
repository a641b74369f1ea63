"""Folder tree: the number of photos in each folder, and the folder that is the class of a photo.

Owns two rules that do not use the names of folders:
- A folder with sub-folders of photos is a *group* if it contains no photo directly. It is also a group if it has at
  least two such sub-folders, and only a few photos directly: at most one fifth of the number in its sub-folders.
  Photos directly in a group have no class.
- The class of a photo is the uppermost folder on its path that is not a group. Sub-folders of a class belong to it.
  Exception: a group with exactly one sub-folder counts as a class if another folder with the same parent is not a
  group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Steps = tuple[str, ...]
"""The names of the folders on the way to a photo."""

_STRAY_SHARE = 5


class FolderTree:
    """The folders that hold photos, with their numbers of photos.

    Args:
        folders: for each photo, the names of the folders on the way to it.
    """

    def __init__(self, folders: Iterable[Steps]):
        self.direct = Counter(folders)
        self.total: Counter[Steps] = Counter()
        self.children: dict[Steps, set[str]] = {}
        for steps, count in self.direct.items():
            for end in range(len(steps) + 1):
                self.total[steps[:end]] += count
            for end in range(len(steps)):
                self.children.setdefault(steps[:end], set()).add(steps[end])

    def children_of(self, folder: Steps) -> set[str]:
        """Returns the names of the sub-folders that hold photos."""
        return self.children.get(folder, set())

    def below(self, folder: Steps) -> list[Steps]:
        """Returns the sub-folders that hold photos, sorted by name."""
        return [(*folder, name) for name in sorted(self.children_of(folder))]

    def is_group(self, folder: Steps) -> bool:
        """Returns whether the sub-folders of a folder are classes or splits, and not parts of one class."""
        subfolders = len(self.children.get(folder, ()))
        direct = self.direct[folder]
        inside = self.total[folder] - direct
        return subfolders > 0 and (direct == 0 or (subfolders > 1 and _STRAY_SHARE * direct <= inside))

    def class_of(self, folder: Steps) -> Steps | None:
        """Returns the class folder of the photos in a folder; None if they belong to no class."""
        for end in range(1, len(folder) + 1):
            if not self.is_group(folder[:end]) or self._is_single_folder(folder[:end]):
                return folder[:end]
        return None

    def _is_single_folder(self, folder: Steps) -> bool:
        """Returns whether a group has exactly one sub-folder and another folder with the same parent is not a group."""
        if len(self.children[folder]) > 1:
            return False
        return any(not self.is_group(beside) for beside in self.below(folder[:-1]))
