"""Card text: compares a published README with the card that is rendered again from the published files.

A person may edit the free sections and the metadata. Such an edit is a note. Every other difference is a fault. A card
of another version of this package has other sentences, so only its values are compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.publishing.audit.report import Verification
from diffcore_hf.publishing.card import code_blocks
from diffcore_hf.publishing.card.dataset_card import CLAIM, with_claim
from diffcore_hf.publishing.card.edits import FROM_FILES, faults_of_record, metadata_of, without_header, without_record
from diffcore_hf.publishing.card.template import number, percent
from diffcore_hf.publishing.card.text import free_sections

_SHOWN = 60
"""Largest number of characters of a line in a message."""
_MAX_PAIRS = 4_000_000
"""Largest number of pairs of lines that are compared to count differences."""
_FREE = re.compile(r"^<!-- free:start ([\w-]+) -->\n(.*?)^<!-- free:end -->\n?", re.MULTILINE | re.DOTALL)
_COUNTS = ("planned", "kept", "exhausted", "failed", "pending", "attempts")


def check_card(
    card: str, rendered: str, result: Verification, *, same_version: bool, values: Mapping[str, Any]
) -> None:
    """Compare a card with the rendered one.

    Args:
        card: text of the published README.md.
        rendered: the card of the published files, as this version of the package writes it.
        result: gets the faults and notes.
        same_version: whether this version of the package wrote the card.
        values: content of diffcore.json, for a card of another version.
    """
    card = card.removeprefix("\ufeff").replace("\r\n", "\n")
    rendered = _with_choices(rendered, card)
    try:
        written, expected = free_sections(card), free_sections(rendered)
        _check_metadata(card, rendered, result)
    except UserError as error:
        result.faults.append(visible(f"README.md: {str(error).removeprefix('README.md: ')}"))
        return
    result.faults += [f"README.md: {fault}" for fault in faults_of_record(card)]
    for name, text in written.items():
        if text != expected.get(name):
            result.notes.append(f"README.md: the free section {name!r} is edited")
    found, own = (_without_free_text(text, set(expected)) for text in (card, rendered))
    if not same_version:
        check_values(card, values, result)
    elif found != own:
        result.faults.append(_first_difference(own, found, card))


def _without_free_text(card: str, known: set[str]) -> str:
    """Return the body of a card without the texts of free sections and without sections that a person added."""
    body = without_record(without_header(card))
    marked = _FREE.sub(lambda match: f"<!-- free:start {match[1]} -->\n" if match[1] in known else "", body)
    return re.sub(r"\n{3,}", "\n\n", marked).strip()


def _with_choices(rendered: str, card: str) -> str:
    """Return the rendered card with the location and the statement of the publisher that `push` writes."""
    if CLAIM not in card:
        rendered = with_claim(rendered)
    location = code_blocks.location_in(card)
    return code_blocks.with_location(rendered, *location) if location else rendered


def _check_metadata(card: str, rendered: str, result: Verification) -> None:
    """Compare the metadata. Metadata that are computed from the files must be equal; others may be edited."""
    if _header(card) == _header(rendered):
        return
    found, expected = metadata_of(card), metadata_of(rendered)
    wrong = [key for key in FROM_FILES if found.get(key) != expected.get(key)]
    result.faults += [f"README.md: the metadata {key!r} do not describe the files" for key in wrong]
    edited = [key for key in {**expected, **found} if key not in FROM_FILES and found.get(key) != expected.get(key)]
    if edited:
        result.notes.append(visible(f"README.md: the metadata {', '.join(map(str, edited))} are edited"))
    elif not wrong:
        result.notes.append("README.md: the metadata are written in another form")


def _header(card: str) -> str:
    return card[: len(card) - len(without_header(card))]


def _first_difference(expected: str, found: str, card: str) -> str:
    """Return a fault that names the first line that differs.

    Args:
        expected: the text that this package writes.
        found: the published text, without the texts of free sections.
        card: the whole README.md, for the number of the line.
    """
    own, theirs = expected.split("\n"), found.split("\n")
    first, last, start, stop, count = _differences(own, theirs)
    lines = card.split("\n")
    number_of = lines.index(theirs[start]) + 1 if start < len(theirs) and theirs[start] in lines else len(lines)
    if start == stop:
        fault = f"{_short(own[first])} is missing before line {number_of}"
    elif first == last:
        fault = f"line {number_of} does not follow from the published files: {_short(theirs[start])}"
    else:
        fault = f"line {number_of} is {_short(theirs[start])} instead of {_short(own[first])}"
    more = f" ({count} differences)" if count > 1 else ""
    return f"README.md: {fault}{more}"


def _differences(own: Sequence[str], theirs: Sequence[str]) -> tuple[int, int, int, int, int]:
    """Return the first and last line of the first difference in both texts, and the number of differences.

    The time of the search grows with the number of pairs of lines. So in long texts, all lines from the first to the
    last line that differs count as one difference.
    """
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(own, theirs, strict=False)))
    ends = zip(reversed(own[same:]), reversed(theirs[same:]), strict=False)
    tail = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    one, other = own[same : len(own) - tail], theirs[same : len(theirs) - tail]
    if len(one) * len(other) > _MAX_PAIRS:
        return same, same + len(one), same, same + len(other), 1
    blocks = [code for code in SequenceMatcher(None, one, other, autojunk=False).get_opcodes() if code[0] != "equal"]
    _, first, last, start, stop = blocks[0]
    return same + first, same + last, same + start, same + stop, len(blocks)


def _short(text: str) -> str:
    return visible(repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."))


def check_values(card: str, manifest: Mapping[str, Any], result: Verification) -> None:
    """Check that a card states the counts, shares and digests of diffcore.json.

    Args:
        card: text of README.md, which another version of this package wrote.
        manifest: content of diffcore.json.
        result: gets the faults and a note.
    """
    result.notes.append("README.md: another version of diffcore-hf wrote the card, so only its values are checked")
    counts = manifest["counts"]
    expected = {f"the number {name!r}": rf"\| {name} \| {number(counts[name])} \|" for name in _COUNTS if counts[name]}
    for name in ("attempt_digest", "recipe_digest"):
        expected[f"the {name.replace('_', ' ')}"] = re.escape(manifest[name])
    record = manifest.get("card", {})
    for name in ("rejected_generated", "rejected_real"):
        if isinstance(record.get(name), float):
            expected[f"the share {name!r}"] = re.escape(percent(record[name]))
    result.faults += [
        f"README.md: {what} is not that of diffcore.json"
        for what, pattern in expected.items()
        if not re.search(pattern, card)
    ]
