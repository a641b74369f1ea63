"""The sentence of measured worth: what training on a dataset came to, as its card says it.

Owns the wording and its place in a card. The figures are those of compare.json, which a training writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcore_hf.publishing.card.text import Markdown, escape_md

START, END = "<!-- worth:start -->", "<!-- worth:end -->"
_PLACE = re.compile(re.escape(START) + r".*?" + re.escape(END), re.DOTALL)

NOT_MEASURED = (
    "**What it is worth for training: not measured.** No model was trained on this dataset when the card was written."
)


def read_comparison(folder: Path, manifest_hash: str | None) -> Mapping[str, Any] | None:
    """compare.json of a dataset folder, if it was measured on this very state of it."""
    try:
        found = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or not ours
        return None
    return found if found.get("data", {}).get("hash") == manifest_hash and len(found.get("arms", ())) > 1 else None


def sentence(comparison: Mapping[str, Any] | None) -> Markdown:
    """One sentence for the card, Markdown; every value in it is escaped."""
    if comparison is None:
        return Markdown(NOT_MEASURED)
    first, *others = comparison["arms"]
    found = [f"{escape_md(first['name'])} {_percent(first['top1'])}"]
    found += [f"{escape_md(arm['name'])} {_percent(arm['top1'])} ({_difference(arm)})" for arm in others]
    seeds = len(comparison["seeds"])
    return Markdown(
        f"**What it is worth for training:** top-1 on split {escape_md(comparison['split'])} "
        f"({comparison['images']:,} images) " + ", ".join(found) + f": {escape_md(comparison['model'])}, "
        f"{first['steps']:,} steps of {comparison['batch_size']} samples for every arm, {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}, differences to {escape_md(first['name'])} paired by seed with their "
        "95 % interval. Details: `compare.json`."
    )


def placed(text: Markdown) -> Markdown:
    """The sentence between the markers by which it is found again."""
    return Markdown(f"{START}\n{text}\n{END}")


def with_sentence(card: str, text: Markdown) -> str:
    """A card with another sentence in the place of the one it has; as it is where it has no such place."""
    return _PLACE.sub(lambda _: placed(text), card, count=1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _difference(arm: Mapping[str, Any]) -> str:
    points = f"{100 * arm['difference']:+.1f}"
    if arm["half_interval"] is None:
        return f"{points}, one seed"
    interval = f"{points} ± {100 * arm['half_interval']:.1f}"
    return interval if arm["seen"] else f"no difference seen, {interval}"
