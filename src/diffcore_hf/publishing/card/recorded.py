"""Recorded facts of a card: what a card shows but no table contains. They are plain values, `card` in diffcore.json.

A card is a function of diffcore.json, of compare.json and of the columns of the shards. So it can be rendered again
from the published files. Owns the form of the record. Does not own the card itself (dataset_card.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from diffcore_hf.core.manifest import ClassRow, Comparison
from diffcore_hf.publishing.card.dataset_card import CardFacts

_DIGITS = 6
"""Decimals of a recorded number. The last bits of a mean depend on the order in which facts were read."""
_SUMMARY = ("rejected_generated", "rejected_real", "mean_similarity", "given_up", "source_findings", "notes")


def recorded_facts(
    summary: Mapping[str, Any],
    *,
    reasons: Mapping[str, str],
    example_prompts: Sequence[tuple[str, str]],
    negative_prompts: Sequence[str],
    columns_prefix: str,
    description: Sequence[tuple[str, str, str]],
    description_note: str,
) -> dict[str, Any]:
    """Return the record of the facts of a card. Remedies are left out, because they name the output folder.

    Args:
        summary: the summary of the run; see `CardFacts.summary`.
        reasons: every value of column `reason` with its meaning.
        example_prompts: pairs of class and prompt.
        negative_prompts: the distinct negative prompts.
        columns_prefix: the prefix of each added column.
        description: figures of the kept images; see `CardFacts.description`.
        description_note: sentence about the sample of these figures; "" if there is none.
    """
    weak = summary["weak_filter"]
    return {
        **{name: _plain(summary[name]) for name in _SUMMARY},
        "by_context": _plain(summary["by_context"]),
        "by_class": [dict(zip(ClassRow._fields, _plain(row), strict=True)) for row in summary["by_class"]],
        "rejections": [_plain(row[:3]) for row in summary["rejections"]],
        "weak_filter": weak[0] if weak else None,
        "reasons": [[reason, meaning] for reason, meaning in reasons.items()],
        "example_prompts": _plain(example_prompts),
        "negative_prompts": list(negative_prompts),
        "columns_prefix": columns_prefix,
        "description": _plain(description),
        "description_note": description_note,
        "text": text_digest(),
    }


@cache
def text_digest() -> str:
    """Return 16 hex digits over the template of the card and the modules that fill it.

    Two editions of this package with the same version number can write different cards.
    """
    modules = [file for file in resources.files("diffcore_hf.publishing.card").iterdir() if file.name.endswith(".py")]
    digest = hashlib.sha256((resources.files("diffcore_hf.hub_cards") / "dataset_card.md.jinja").read_bytes())
    for file in sorted(modules, key=lambda file: file.name):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def card_facts(
    manifest: Mapping[str, Any], comparison: Comparison | None, dataset_info: Sequence[Mapping[str, Any]]
) -> CardFacts:
    """Return the facts of the card of a dataset.

    Args:
        manifest: content of diffcore.json, with the record under `card`.
        comparison: content of compare.json; None if there is none.
        dataset_info: features, number of rows and bytes of each configuration.

    Raises:
        KeyError, TypeError, ValueError: the record has another form.
    """
    card = manifest["card"]
    summary = {name: card[name] for name in _SUMMARY}
    summary["by_context"] = card["by_context"]
    summary["by_class"] = [tuple(row[name] for name in ClassRow._fields) for row in card["by_class"]]
    summary["rejections"] = [(reason, attempts, label, "") for reason, attempts, label in card["rejections"]]
    summary["weak_filter"] = None if card["weak_filter"] is None else [card["weak_filter"]]
    return CardFacts(
        manifest=manifest,
        summary=summary,
        reasons=dict(card["reasons"]),
        example_prompts=[(name, prompt) for name, prompt in card["example_prompts"]],
        negative_prompts=card["negative_prompts"],
        columns_prefix=card["columns_prefix"],
        comparison=comparison,
        description=[(name, value, expected) for name, value, expected in card["description"]],
        description_note=card["description_note"],
        dataset_info=dataset_info,
    )


def _plain(value: Any) -> Any:
    """Return a value with lists in place of tuples and with rounded numbers."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
