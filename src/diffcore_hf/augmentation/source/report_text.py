"""The texts of the report of a source: lines for the terminal, and sentences without names for the card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from diffcore_hf.augmentation.source.report import EXAMPLES, SourceReport, UnreadFiles

MAX_FOLDERS = 3
"""If the unread files of one reason are in more folders than this, one line describes them all; else one per folder."""


def lines(report: SourceReport) -> list[str]:
    """Returns the report as lines for `plan`. A finding that does not occur has no line."""
    listed = _rows(report)
    listed += _unread(report.unread)
    for split, names in report.unreadable.items():
        listed.append(f"unreadable  {_count(len(names), 'image')} of split {split}: {examples(names, '; ')}")
    listed += _images(report)
    listed += _identical(report)
    listed += _classes(report)
    return listed


def findings(report: SourceReport) -> list[str]:
    """Returns the findings as sentences for the card and the summary. They contain no file name.

    A source without findings has no sentence.
    """
    sentences = []
    if unread := report.unread_data():
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in unread.most_common())
        total = unread.total()
        sentences.append(f"{_count(total, 'file')} of the source folder {_were(total)} not read ({reasons})")
    if unreadable := sum(map(len, report.unreadable.values())):
        sentences.append(f"{_count(unreadable, 'image')} cannot be read")
    if report.identical_in_class:
        sentences.append(
            f"{_count(len(report.identical_in_class), 'image')} {_occur(report.identical_in_class)} several times in "
            "one class; each of them is one reference"
        )
    if report.label_conflicts:
        sentences.append(
            f"{_count(len(report.label_conflicts), 'image')} {_occur(report.label_conflicts)} in different classes, "
            "so at least one of the labels is wrong"
        )
    if report.across_splits:
        sentences.append(
            f"{_count(len(report.across_splits), 'image')} {_occur(report.across_splits)} in different splits, which "
            f"makes a test score too high; {_count(report.not_planned, 'row')} of the augmented split "
            f"{'gets' if report.not_planned == 1 else 'get'} no counterpart for this reason"
        )
    if report.classes_in_one_split:
        sentences.append(f"{_classes_count(report.classes_in_one_split)} in one split only")
    if report.equal_prompt_names:
        sentences.append(f"{_count(len(report.equal_prompt_names), 'prompt name')} of more than one class")
    return sentences


def examples(names: Sequence[str], separator: str = ", ") -> str:
    """Returns the first EXAMPLES names, and the number of the remaining names."""
    shown = separator.join(names[:EXAMPLES])
    return shown + (f" and {len(names) - EXAMPLES:,} more" if len(names) > EXAMPLES else "")


def _rows(report: SourceReport) -> list[str]:
    listed = [f"layout      {report.layout}"] if report.layout else []
    splits = []
    for split, by_class in report.rows.items():
        rows = sum(by_class.values()) + report.unlabelled.get(split, 0)
        classes = sum(count > 0 for count in by_class.values())
        splits.append(f"{split} {_count(rows, 'row')} in {_count(classes, 'class', 'classes')}")
    listed.append(f"splits      {'; '.join(splits)}")
    for split, count in report.unlabelled.items():
        listed.append(f"unlabelled  {_count(count, 'row')} of split {split} without a counterpart")
    return listed


def _unread(groups: Sequence[UnreadFiles]) -> list[str]:
    """Returns the lines of the unread files. Every reason has a line, however many folders and reasons there are."""
    by_reason: dict[str, list[UnreadFiles]] = {}
    for group in groups:
        by_reason.setdefault(group.reason, []).append(group)
    shown: list[UnreadFiles] = []
    for same in by_reason.values():
        shown += same if len(same) <= MAX_FOLDERS else [_merged(same)]
    listed = [
        f"not read    {_count(len(group.names), 'file')} in {group.folder}: {_reason_and_names(group)}"
        for group in shown
    ]
    if any(len(group.names) > EXAMPLES for group in shown):
        listed.append("not read    --report FILE.json lists all of them")
    return listed


def _merged(groups: Sequence[UnreadFiles]) -> UnreadFiles:
    """Returns the unread files of one reason in many folders, with their paths in place of their names."""
    names = tuple(chain.from_iterable(group.paths() for group in groups))
    details = tuple(chain.from_iterable(group.details for group in groups))
    return UnreadFiles(groups[0].reason, f"{len(groups):,} folders", names, details)


def _reason_and_names(group: UnreadFiles) -> str:
    """Returns the reason of a group and its first names. A detail that all files have is stated once."""
    if len(set(group.details)) > 1:
        named = [name + (f": {detail}" if detail else "") for name, detail in group.files()]
        return f"{group.reason} ({examples(named, '; ')})"
    detail = f": {group.details[0]}" if group.details[0] else ""
    return f"{group.reason}{detail} ({examples(group.names)})"


def _images(report: SourceReport) -> list[str]:
    if report.sides is None:
        return []
    formats = ", ".join(f"{name} {count:,}" for name, count in report.formats.items())
    modes = ", ".join(f"{name} {count:,}" for name, count in report.modes.items())
    sides = report.sides
    return [
        f"images      {formats}; modes {modes}; shorter side {sides.smallest:,} to longer side {sides.largest:,} "
        f"pixels, median of the shorter sides {sides.median:,}"
    ]


def _identical(report: SourceReport) -> list[str]:
    planned = _count(report.not_planned, "row")
    kinds = (
        ("duplicates", report.identical_in_class, "several times in one class; each is one reference"),
        ("conflict", report.label_conflicts, "in different classes, so one of the labels is wrong"),
        ("leak", report.across_splits, f"in different splits, so {planned} of the augmented split cannot be planned"),
    )
    return [
        f"{word:<11} {_count(len(groups), 'image')} {_occur(groups)} {meaning}: "
        f"{examples([' = '.join(group) for group in groups], '; ')}"
        for word, groups, meaning in kinds
        if groups
    ]


def _classes(report: SourceReport) -> list[str]:
    listed = []
    if report.classes_in_one_split:
        names = [f"{name} ({split})" for name, split in report.classes_in_one_split.items()]
        listed.append(f"one split   {_classes_count(names)} in one split only: {examples(names)}")
    if report.classes_of_one_image:
        count = _count(len(report.classes_of_one_image), "class", "classes")
        listed.append(f"one image   {count} with one image: {examples(report.classes_of_one_image)}")
    for prompt_name, classes in report.equal_prompt_names.items():
        listed.append(
            f"same name   {examples(classes)} are all called {prompt_name!r} in prompts. "
            "Use --source.label_names or --prompts.label_descriptions"
        )
    return listed


def _classes_count(classes: Iterable[str]) -> str:
    count = len(list(classes))
    return f"{count:,} {'class is' if count == 1 else 'classes are'}"


def _count(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _occur(groups: Sequence[object]) -> str:
    return "occurs" if len(groups) == 1 else "occur"
