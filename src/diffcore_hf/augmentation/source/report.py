"""The report of a source: its rows, its unread files, its identical images and its unusual classes, in figures.

Owns the choice of the figures. It is computed from a loaded source; no file is read. Their texts are in
report_text.py. The names of files and rows are for the user of this machine; a published card contains only counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.augmentation.source.file_kinds import DOCUMENT
from diffcore_hf.augmentation.source.files import HIDDEN, SYSTEM, UnreadFile
from diffcore_hf.augmentation.source.identical import Group, find_identical
from diffcore_hf.core.image_headers import ImageHeader
from diffcore_hf.core.manifest import SourceCounts

_NO_DATA = frozenset({DOCUMENT, HIDDEN, SYSTEM})
"""Reasons of unread files that are not findings, because such files never give rows."""
EXAMPLES = 5
"""Largest number of names that the text lists for a finding. The file of `plan --report` has all names."""


class UnreadFiles(NamedTuple):
    """The files of one folder that were not read for one reason."""

    reason: str
    folder: str
    """Path below the source folder; `.` for the source folder itself."""
    names: tuple[str, ...]
    details: tuple[str, ...]
    """For each file, information that the reason does not state, such as the target of a link; may be empty."""

    def paths(self) -> Iterator[str]:
        """Returns the path of each file below the source folder."""
        return (name if self.folder == "." else f"{self.folder}/{name}" for name in self.names)

    def files(self) -> Iterator[tuple[str, str]]:
        """Returns the name and the detail of each file."""
        return zip(self.names, self.details, strict=True)


class SideLengths(NamedTuple):
    """The side lengths of the images of a source, in pixels."""

    smallest: int
    """Smallest shorter side."""
    median: int
    """Median of the shorter sides."""
    largest: int
    """Largest longer side."""


@dataclass(frozen=True)
class SourceReport:
    """The files and rows of a source that were read, and those that were not."""

    path: str
    layout: str
    """How the rows follow from the files; empty for a source that is not a folder of images."""
    rows: dict[str, dict[str, int]]
    """Rows by split and class."""
    unlabelled: dict[str, int]
    """Rows without a class, by split; splits without such rows are left out."""
    unreadable: dict[str, tuple[str, ...]]
    """Rows whose image cannot be read, each with the reason after a colon, by split; other splits are left out."""
    unread: tuple[UnreadFiles, ...]
    """The files that were not read, by reason and folder."""
    formats: dict[str, int]
    """Images by format, the most frequent first."""
    modes: dict[str, int]
    """Images by mode of their pixels, the most frequent first."""
    sides: SideLengths | None
    """None if no image can be read."""
    identical_in_class: tuple[tuple[str, ...], ...]
    """Groups of rows of one class with the same image file."""
    label_conflicts: tuple[tuple[str, ...], ...]
    """Groups of rows of different classes with the same image file."""
    across_splits: tuple[tuple[str, ...], ...]
    """Groups of rows of different splits with the same image file."""
    not_planned: int
    """Rows of the augmented split that are never planned, because another split has the same image file."""
    classes_in_one_split: dict[str, str]
    """Class -> the only split that has it; empty if the source has one split."""
    classes_of_one_image: tuple[str, ...]
    """Classes with one image in the augmented split."""
    equal_prompt_names: dict[str, tuple[str, ...]]
    """Name in prompts -> the two or more classes that have it."""

    def unread_data(self) -> Counter[str]:
        """Returns the number of unread files by reason, without system files and documents, which are not data."""
        counts: Counter[str] = Counter()
        for group in self.unread:
            if group.reason not in _NO_DATA:
                counts[group.reason] += len(group.names)
        return counts

    def counts(self) -> SourceCounts:
        """Returns the counts for the manifest, without names."""
        return {
            "unread_files": self.unread_data().total(),
            "unreadable_images": sum(map(len, self.unreadable.values())),
            "identical_in_class": len(self.identical_in_class),
            "label_conflicts": len(self.label_conflicts),
            "across_splits": len(self.across_splits),
        }

    def plain(self) -> dict[str, Any]:
        """Returns the report as a mapping of plain values, for a JSON file."""
        values = asdict(self)
        values["unread"] = [group._asdict() for group in self.unread]
        values["sides"] = self.sides._asdict() if self.sides else None
        return values


def make_report(source: LoadedSource, prompt_names: Sequence[str]) -> SourceReport:
    """Returns the report of a source.

    Args:
        source: the loaded source.
        prompt_names: the K names of the classes in prompts.
    """
    split = source.config.split
    names = RowNames(source)
    identical = find_identical(source.sha256, source.labels)
    counts = {name: _class_counts(source, name) for name in source.splits}
    headers = [header for listed in source.headers.values() for header in listed if isinstance(header, ImageHeader)]
    return SourceReport(
        path=source.config.path,
        layout=source.layout,
        rows=counts,
        unlabelled=_positive({name: int((labels < 0).sum()) for name, labels in source.labels.items()}),
        unreadable={name: rows for name in source.splits if (rows := names.of_unreadable(name))},
        unread=group_unread(source.unread),
        formats=_by_frequency(header.format for header in headers),
        modes=_by_frequency(header.mode for header in headers),
        sides=_sides([(header.width, header.height) for header in headers]),
        identical_in_class=names.of_groups(identical.within_class),
        label_conflicts=names.of_groups(identical.across_classes),
        across_splits=names.of_groups(identical.across_splits),
        not_planned=_labelled_rows(identical.across_splits, split),
        classes_in_one_split=_classes_in_one_split(counts),
        classes_of_one_image=tuple(name for name, count in counts[split].items() if count == 1),
        equal_prompt_names=equal_names(source.names, prompt_names),
    )


class RowNames:
    """The names of rows for a user: the path below the source folder, else the row id."""

    def __init__(self, source: LoadedSource):
        self._source = source
        self._paths = {split: _paths(source, split) for split in source.splits} if source.layout else {}

    def of_groups(self, groups: Iterable[Group]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(self.of(place.split, place.row) for place in group) for group in groups)

    def of_unreadable(self, split: str) -> tuple[str, ...]:
        reasons, headers = self._source.unreadable[split], self._source.headers[split]
        return tuple(
            f"{self.of(split, row)}: {reasons.get(row, header)}"
            for row, header in enumerate(headers)
            if isinstance(header, str)
        )

    def of(self, split: str, row: int) -> str:
        """Returns the name of a row."""
        paths = self._paths.get(split)
        return paths[row] if paths and paths[row] else self._source.row_ids[split][row]


def _paths(source: LoadedSource, split: str) -> list[str]:
    """Returns the path of each image below the source folder or in its archive; "" for an image without a file."""
    column = source.splits[split].data.column(source.config.image)
    root = f"{source.files.roots[0]}/"  # the source folder, or the folder of the unpacked archive
    listed: list[str] = []
    for chunk in column.chunks:
        paths: list[str | None] = pc.struct_field(chunk, "path").to_pylist()
        listed += [path.removeprefix(root) if path else "" for path in paths]
    return listed


def group_unread(unread: Iterable[UnreadFile]) -> tuple[UnreadFiles, ...]:
    """Returns the unread files by reason and folder, in the order of reasons, folders and names."""
    groups: defaultdict[tuple[str, str], list[UnreadFile]] = defaultdict(list)
    for file in unread:
        groups[file.reason, str(PurePosixPath(file.path).parent)].append(file)
    return tuple(
        UnreadFiles(
            reason,
            folder,
            tuple(PurePosixPath(file.path).name for file in files),
            tuple(file.detail for file in files),
        )
        for (reason, folder), files in sorted(groups.items())
    )


def equal_names(names: Sequence[str], prompt_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the prompt names that two or more classes have, each with its classes."""
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for name, prompt_name in zip(names, prompt_names, strict=True):
        classes[prompt_name].append(name)
    return {prompt_name: tuple(listed) for prompt_name, listed in classes.items() if len(listed) > 1}


def _class_counts(source: LoadedSource, split: str) -> dict[str, int]:
    labels = source.labels[split]
    counts = np.bincount(labels[labels >= 0], minlength=len(source.names)).tolist()
    return dict(zip(source.names, counts, strict=True))


def _classes_in_one_split(counts: dict[str, dict[str, int]]) -> dict[str, str]:
    labelled = {split: by_class for split, by_class in counts.items() if any(by_class.values())}
    if len(labelled) < 2:
        return {}
    only: dict[str, str] = {}
    for name in next(iter(labelled.values())):
        having = [split for split, by_class in labelled.items() if by_class[name]]
        if len(having) == 1:
            only[name] = having[0]
    return only


def _labelled_rows(groups: Iterable[Group], split: str) -> int:
    """Returns the number of labelled rows of a split in some groups."""
    return sum(place.split == split and place.label >= 0 for place in chain.from_iterable(groups))


def _positive(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _by_frequency(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _sides(sizes: Sequence[tuple[int, int]]) -> SideLengths | None:
    if not sizes:
        return None
    sides = np.array(sizes)
    shorter = sides.min(axis=1)
    return SideLengths(int(shorter.min()), int(np.median(shorter)), int(sides.max()))
