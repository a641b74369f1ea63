"""Card edits: what people changed in a card on the Hub, taken over into the one that is about to replace it.

Owns the choice between two hands, for free sections and for the metadata: what was changed there stays, what was
changed here arrives, and where both were changed nobody is overruled. A card on the Hub ends in a record of what came
from here, so that a person's change is told from ours. Does not own what a card says (card.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing.card.text import free_sections, merge_free_sections

_FACTS = ("configs", "dataset_info", "size_categories")
"""Metadata that only the files themselves can say."""
_UNITED = ("tags", "task_categories")
_UNSAID = (None, "unknown")
_HEADER = re.compile(r"\A---\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_RECORD = re.compile(r"\n*^<!-- from here: (.*) -->\n?", re.MULTILINE)


def with_edits(here: str, there: str | None) -> str:
    """The card that is to be pushed, with what people changed on the Hub, and the record of what came from here.

    A card that was not ours becomes a section of its own, so nothing of it is lost.

    Args:
        here: the card that is to be pushed.
        there: the card on the Hub now; None: there is none.

    Raises:
        UserError: something that was changed on both sides, a section without an end, or metadata that are no YAML.
    """
    here = _RECORD.sub("\n", here)
    record = {
        "metadata": _plain({key: value for key, value in _metadata(here).items() if key not in _FACTS}),
        "sections": {name: _hash(text) for name, text in free_sections(here).items()},
    }
    merged = here
    if there is not None:
        there = there.lstrip("\ufeff").replace("\r\n", "\n")
        last = _recorded(there)
        merged = _with_metadata(merge_free_sections(here, _sections(here, there, last)), there, last)
    # A comment that nothing in it can end.
    told = json.dumps(record, sort_keys=True).replace(">", "\\u003e")
    return f"{merged.rstrip()}\n\n<!-- from here: {told} -->\n"


def _sections(here: str, there: str, last: Mapping[str, Any]) -> str:
    mine, theirs = free_sections(here), free_sections(there)
    body = _RECORD.sub("", _HEADER.sub("", there)).strip()
    if not theirs and body:
        theirs = {"earlier": f"{body}\n"}
    known = last.get("sections", {})
    kept = {}
    for name, text in theirs.items():
        own, changed_there = mine.get(name, ""), _hash(text) != known.get(name)
        something = bool(_COMMENT.sub("", own).strip())
        if name in mine or changed_there:
            changed_here = something and _hash(own) != known.get(name)
            kept[name] = _chosen(f"section {name!r}", own, text, changed_here, changed_there)
    return "\n".join(f"<!-- free:start {name} -->\n{text}<!-- free:end -->" for name, text in kept.items())


def _with_metadata(card: str, there: str, last: Mapping[str, Any]) -> str:
    from huggingface_hub import DatasetCardData

    mine, theirs, known = _metadata(card), _metadata(there), last.get("metadata")
    merged = dict(mine)
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        ours, others = mine.get(key), theirs.get(key)
        if key in _FACTS or ours == others:
            continue
        if key in _UNITED and isinstance(ours, list) and isinstance(others, list):
            # What came from here and is there no more, somebody has taken out.
            out = [one for one in (known or {}).get(key) or () if one not in others]
            kept = [one for one in ours if one not in out]
            merged[key] = kept + [one for one in others if one not in kept]
            continue
        if known is None:  # a card that did not come from here
            changed = (ours not in _UNSAID, others is not None)
        else:
            changed = (_plain(ours) != known.get(key), _plain(others) != known.get(key))
        merged[key] = _chosen(key, ours, others, *changed)
    if merged == mine:
        return card
    header = DatasetCardData(**{key: value for key, value in merged.items() if value is not None}).to_yaml()
    return f"---\n{header}\n---\n{_HEADER.sub('', card)}"


def _chosen(what: str, mine: Any, theirs: Any, changed_here: bool, changed_there: bool) -> Any:
    """Of a text or value that differs the one that somebody changed."""
    if mine == theirs or not changed_there:
        return mine
    if not changed_here:
        return theirs
    raise UserError(f"{what} was changed here and on the Hub. Copy one over the other, then push")


def _recorded(card: str) -> Mapping[str, Any]:
    """What the last push from here had; {} where the card does not say it."""
    found = _RECORD.search(card)
    try:
        parsed = json.loads(found.group(1)) if found else {}
    except ValueError:
        parsed = {}
    fits = isinstance(parsed, dict) and all(isinstance(value, dict) for value in parsed.values())
    return parsed if fits else {}


def _plain(value: Any) -> Any:
    """As JSON gives it back: a date is its text."""
    return json.loads(json.dumps(value, default=str))


def _hash(text: str) -> str:
    return sha256(text.strip().encode()).hexdigest()[:16]


def card_configs(card: str) -> set[str]:
    """The shards that a card's metadata name; without them nobody can load the dataset as it was meant."""
    configs = _metadata(card).get("configs")
    splits = [split for config in configs or () if isinstance(config, dict) for split in config.get("data_files", ())]
    return {path for split in splits for path in ([split["path"]] if isinstance(split["path"], str) else split["path"])}


def _metadata(card: str) -> Mapping[str, Any]:
    import yaml

    found = _HEADER.match(card)
    try:
        parsed = yaml.safe_load(found.group(1)) if found else None
    except yaml.YAMLError:
        parsed = False
    if parsed is not None and not (isinstance(parsed, dict) and all(isinstance(key, str) for key in parsed)):
        raise UserError("the metadata between its `---` lines are no YAML of names and values. Mend them")
    language = (parsed or {}).get("language")
    if language is False or (isinstance(language, list) and False in language):  # YAML takes Norwegian for a refusal
        parsed["language"] = "no" if language is False else ["no" if one is False else one for one in language]
    return parsed or {}
