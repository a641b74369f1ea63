"""Split names: the folder names that mean a split.

The words and separators are those of `datasets`, so that a folder of photos has the same splits in both libraries.
There is one difference: here `Train` means the same as `train`.
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import NamedTuple

SPLITS = ("train", "validation", "test")
"""The usual splits, in the order of `datasets`."""

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SEPARATOR = "[-._ 0-9]"
_FORMS = ("{word}", "{word}{gap}.*", ".*{gap}{word}", ".*{gap}{word}{gap}.*")


class SplitName(NamedTuple):
    """The split that a folder name means."""

    split: str
    rank: int
    """Position of the matching word and form. `datasets` reads the folders of a split in this order."""


def _patterns() -> list[tuple[SplitName, re.Pattern[str]]]:
    patterns = []
    for split, words in _WORDS.items():
        for rank, (word, form) in enumerate(itertools.product(words, _FORMS)):
            pattern = re.compile(form.format(word=word, gap=_SEPARATOR), re.DOTALL)
            patterns.append((SplitName(split, rank), pattern))
    return patterns


_PATTERNS = _patterns()


@functools.cache
def split_of(name: str) -> SplitName | None:
    """Returns the split that a folder name means; None if it means no split or several.

    Examples: `train`, `Train`, `train_2024` and `my-train` mean train. `trainer` and `train_test` mean no split.
    """
    found: dict[str, SplitName] = {}
    for meaning, pattern in _PATTERNS:
        if meaning.split not in found and pattern.fullmatch(name.lower()):
            found[meaning.split] = meaning
    return next(iter(found.values())) if len(found) == 1 else None


def split_of_file(path: str) -> str:
    """Returns the split that the name of a data file or of a folder above it means; `train` if none means a split."""
    *folders, name = path.split("/")
    for step in (name.partition(".")[0], *reversed(folders)):
        if meaning := split_of(step):
            return meaning.split
    return "train"


def is_only_split(name: str) -> bool:
    """Returns whether a folder name is a split word with or without a number: `train`, `val_2`, not `test tubes`."""
    words = [word for word in re.split(_SEPARATOR, name.lower()) if word]
    return len(words) == 1 and split_of(words[0]) is not None


def own_split_name(name: str) -> str:
    """Returns a new split name for a folder whose name means no split: its letters, digits, dots and underscores."""
    return re.sub(r"\W+", "_", name).strip("_") or "split"
