"""Card edits: what people changed in a card on the Hub, taken over into the one that is about to replace it.

Owns the choice between two hands, for free sections and for the metadata: what was changed there stays, what was
changed here arrives, and where both were changed nobody is overruled. Does not own what a card says (card.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from diffcore_hf.publishing.text import free_sections, merge_free_sections

_FACTS = ("configs", "dataset_info", "size_categories")
"""Metadata that only the files themselves can say."""
_UNITED = ("tags", "task_categories")
_UNSAID = (None, "unknown")
_HEADER = re.compile(r"\A---\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def with_edits(here: str, there: str | None, earlier: Sequence[str] = ()) -> str:
    """The card that is to be pushed, with what people changed on the Hub.

    A card that was not ours becomes a section of its own, so nothing of it is lost.

    Args:
        here: the card that is to be pushed.
        there: the card on the Hub now; None: there is none.
        earlier: the cards of all versions, oldest first.

    Raises:
        ValueError: something that was changed on both sides, a section without an end, or metadata that are no YAML.
    """
    if there is None:
        return here
    there = there.replace("\r\n", "\n")
    return _with_metadata(merge_free_sections(here, _sections(here, there, earlier)), there, earlier)


def _sections(here: str, there: str, earlier: Sequence[str]) -> str:
    mine, theirs = free_sections(here), free_sections(there)
    before = [free_sections(card) for card in earlier]
    if not theirs and not earlier:
        body = _HEADER.sub("", there).strip()
        theirs = {"earlier": f"{body}\n"} if body else {}
    kept = {}
    for name, text in theirs.items():
        versions = [sections[name] for sections in before if name in sections]
        nothing = not _COMMENT.sub("", mine.get(name, "")).strip()
        kept[name] = text if nothing else _chosen(f"section {name!r}", mine[name], text, versions)
    return "\n".join(f"<!-- free:start {name} -->\n{text}<!-- free:end -->" for name, text in kept.items())


def _with_metadata(card: str, there: str, earlier: Sequence[str]) -> str:
    from huggingface_hub import DatasetCardData

    mine, theirs = _metadata(card), _metadata(there)
    before = [_metadata(one) for one in earlier]
    merged = dict(mine)
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        ours, others = mine.get(key), theirs.get(key)
        if key in _FACTS or ours == others:
            continue
        if key in _UNITED and isinstance(ours, list) and isinstance(others, list):
            merged[key] = ours + [one for one in others if one not in ours]
        elif not before and others is None:
            continue
        else:
            versions = [metadata.get(key) for metadata in before]
            merged[key] = others if not before and ours in _UNSAID else _chosen(key, ours, others, versions)
    if merged == mine:
        return card
    header = DatasetCardData(**{key: value for key, value in merged.items() if value is not None}).to_yaml()
    return f"---\n{header}\n---\n{_HEADER.sub('', card)}"


def _metadata(card: str) -> Mapping[str, Any]:
    import yaml

    found = _HEADER.match(card)
    try:
        parsed = yaml.safe_load(found.group(1)) if found else None
    except yaml.YAMLError:
        parsed = False
    if parsed is not None and not isinstance(parsed, dict):
        raise ValueError("the metadata between its `---` lines are no YAML. Mend them")
    return parsed or {}


def _chosen(what: str, mine: Any, theirs: Any, versions: Sequence[Any]) -> Any:
    """Of a text or value that differs the one that somebody changed.

    Args:
        what: its name, for the error.
        mine: here.
        theirs: on the Hub.
        versions: what the versions have, oldest first: one of these was not touched since.
    """
    if mine in versions or mine == theirs:
        return theirs
    if versions and theirs == versions[-1]:
        return mine
    raise ValueError(f"{what} was changed here and on the Hub. Copy one over the other, then push")
