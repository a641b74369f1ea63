"""Card edits: merges the local card with edits that people made on the Hub.

Owns the merge of free sections (text.py) and of metadata. An edit on either side is kept; conflicting edits are an
error. A card on the Hub ends with a record of the content that the last push sent, so that later edits on the Hub can
be recognised. Does not write the card itself (dataset_card.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypedDict

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.own_files import check_depth, parse_json
from diffcore_hf.publishing.card.header import header
from diffcore_hf.publishing.card.text import free_sections, merge_free_sections

FROM_FILES = ("configs", "dataset_info", "size_categories")
"""Metadata that are computed from the files; edits of them on the Hub are not kept."""
_LISTS = ("tags", "task_categories")
"""Metadata that are lists; each entry is merged separately."""
_UNSET = (None, "unknown")
_HEADER = re.compile(r"\A---\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_RECORD = re.compile(r"(?<!\n)\n*^<!-- from here: (.*) -->\n?", re.MULTILINE)
_EARLIER = "earlier"
"""Name of the section that gets the text of a card that was on the Hub before the first push."""


class _Record(TypedDict, total=False):
    """Record of the content that the last push sent; a key is absent if the card has no valid record of it."""

    metadata: dict[str, Any]
    sections: dict[str, str]
    """Section -> hash of its text."""


def with_edits(local: str, on_hub: str | None) -> str:
    """Return the card to push: the local card with the edits made on the Hub, and a new record.

    If another tool or a person wrote the card on the Hub, its whole text becomes a section of the new card.

    Args:
        local: card of the folder.
        on_hub: card on the Hub; None if there is none.

    Raises:
        UserError: a section or value was changed on both sides, a section has no end, or the metadata are invalid.
    """
    local = _RECORD.sub("\n", local)
    sent = {
        "metadata": _plain({key: value for key, value in metadata_of(local).items() if key not in FROM_FILES}),
        "sections": {name: _hash(text) for name, text in free_sections(local).items()},
    }
    merged = local
    if on_hub is not None:
        on_hub = on_hub.lstrip("\ufeff").replace("\r\n", "\n")
        last = _last_record(on_hub)
        merged = _with_metadata(merge_free_sections(local, _merged_sections(local, on_hub, last)), on_hub, last)
    # `>` is escaped, so that no text in the record can end the comment.
    record = json.dumps(sent, sort_keys=True).replace(">", "\\u003e")
    return f"{merged.rstrip()}\n\n<!-- from here: {record} -->\n"


def _merged_sections(local: str, on_hub: str, last: _Record) -> str:
    """Return the merged free sections, written as in a card."""
    ours, theirs = free_sections(local), free_sections(on_hub)
    body = _RECORD.sub("", _HEADER.sub("", on_hub)).strip()
    if not theirs and body:
        theirs = {_EARLIER: f"{body}\n"}
    sent = last.get("sections", {})
    merged = {}
    for name, text in theirs.items():
        own = ours.get(name, "")
        changed_there = _hash(text) != sent.get(name)
        if name in ours or changed_there:
            has_text = bool(_COMMENT.sub("", own).strip())
            changed_here = has_text and _hash(own) != sent.get(name)
            merged[name] = _merged(f"section {name!r}", own, text, changed_here, changed_there)
    return "\n".join(f"<!-- free:start {name} -->\n{text}<!-- free:end -->" for name, text in merged.items())


def _with_metadata(card: str, on_hub: str, last: _Record) -> str:
    """Return the card with its metadata merged with those on the Hub."""
    from huggingface_hub import DatasetCardData

    ours, theirs, sent = metadata_of(card), metadata_of(on_hub), last.get("metadata")
    merged = dict(ours)
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        own, other = ours.get(key), theirs.get(key)
        if key in FROM_FILES or own == other:
            continue
        if key in _LISTS and isinstance(own, list) and isinstance(other, list):
            removed = [entry for entry in (sent or {}).get(key) or () if entry not in other]
            kept = [entry for entry in own if entry not in removed]
            merged[key] = kept + [entry for entry in other if entry not in kept]
            continue
        if sent is None:  # Another tool or a person wrote the card on the Hub.
            changed_here, changed_there = own not in _UNSET, other is not None
        else:
            changed_here, changed_there = _plain(own) != sent.get(key), _plain(other) != sent.get(key)
        merged[key] = _merged(key, own, other, changed_here, changed_there)
    if merged == ours:
        return card
    given = {key: value for key, value in merged.items() if value is not None}
    return f"---\n{header(DatasetCardData(**given).to_dict())}\n---\n{_HEADER.sub('', card)}"


def _merged(what: str, own: Any, other: Any, changed_here: bool, changed_there: bool) -> Any:
    """Return the text or value of the side that changed it since the last push.

    Raises:
        UserError: both sides changed it, in different ways.
    """
    if own == other or not changed_there:
        return own
    if not changed_here:
        return other
    raise UserError(f"{what} was changed here and on the Hub. Make both equal, then push")


def _last_record(card: str) -> _Record:
    """Return the record of the last push; empty if the card has no valid record."""
    match = _RECORD.search(card)
    try:
        parsed = parse_json(match.group(1)) if match else {}
    except ValueError:
        return {}
    if not isinstance(parsed, dict) or not all(isinstance(value, dict) for value in parsed.values()):
        return {}
    record: _Record = {}
    if "metadata" in parsed:
        record["metadata"] = parsed["metadata"]
    if "sections" in parsed:
        record["sections"] = parsed["sections"]
    return record


def without_header(card: str) -> str:
    """Return the text of a card after its metadata."""
    return _HEADER.sub("", card)


def without_record(card: str) -> str:
    """Return a card without the record of the last push."""
    return _RECORD.sub("\n", card)


def faults_of_record(card: str) -> list[str]:
    """Return the fault of the record of the last push, if the card has a record that cannot be read."""
    if _RECORD.search(card) is None or _last_record(card):
        return []
    return ["the record of the last push is damaged"]


def _plain(value: Any) -> Any:
    """Return the value after conversion to JSON and back. The conversion turns a date into text."""
    return json.loads(json.dumps(value, default=str))


def _hash(text: str) -> str:
    return sha256(text.strip().encode()).hexdigest()[:16]


def card_shards(card: str) -> set[str]:
    """Return the paths of the shards that a card's metadata list; `load_dataset` loads only these.

    Raises:
        UserError: the metadata are not valid YAML.
    """
    shards: set[str] = set()
    for config in _entries(metadata_of(card).get("configs")):
        for split in _entries(config.get("data_files")):
            paths = split.get("path")
            shards |= {paths} if isinstance(paths, str) else set(map(str, paths or ()))
    return shards


def _entries(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings in a list; [] for any other value."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def metadata_of(card: str) -> dict[str, Any]:
    """Return the metadata in the card's header; {} if it has no header.

    Raises:
        UserError: the header is not a YAML mapping with text as keys.
    """
    import yaml

    match = _HEADER.match(card)
    if match is None:
        return {}
    try:
        parsed = yaml.safe_load(match.group(1))
        check_depth(parsed)
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        # The library raises many types, for example for the 40th day of a month.
        parsed = False
    if parsed is None:
        return {}
    if not isinstance(parsed, dict) or not all(isinstance(key, str) for key in parsed):
        raise UserError(
            "the metadata between the `---` lines are not valid YAML of the form `key: value`. Correct them"
        )
    language = parsed.get("language")
    if language is False:  # The code of Norwegian, `no`, is false in YAML.
        parsed["language"] = "no"
    elif isinstance(language, list):
        parsed["language"] = ["no" if entry is False else entry for entry in language]
    return parsed
