"""Worth of a dataset: one sentence on its card about the measured gain from training on the dataset.

Owns the text and its position in a card. The figures are from compare.json, which a training writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.manifest import ComparedArm, Comparison
from diffcore_hf.core.own_files import parse_json, read_own_file
from diffcore_hf.core.run_record import has_valid_text, hashed_json
from diffcore_hf.publishing.card.text import Markdown, escape_md

START, END = "<!-- worth:start -->", "<!-- worth:end -->"
_MARKED = re.compile(re.escape(START) + r".*?" + re.escape(END), re.DOTALL)
_NUMBER = (int, float)
_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "data": dict,
    "arms": list,
    "seeds": list,
    "split": str,
    "images": int,
    "model": str,
    "batch_size": int,
}
_ARM_FIELDS: Mapping[str, type | tuple[type, ...]] = {"name": str, "top1": _NUMBER, "steps": int}

NOT_MEASURED = "**Effect on training: not measured.** No model was trained on this dataset when the card was written."


def parse_comparison(content: Any) -> Comparison:
    """Return the content of compare.json after checking its form.

    Raises:
        UserError: the content has another form.
    """
    if not isinstance(content, Mapping):
        raise UserError("it is not a JSON object")
    for key, kind in _FIELDS.items():
        if not isinstance(content.get(key), kind):
            raise UserError(f"it has no valid {key!r}")
    first, *others = content["arms"] or [None]
    for arm in (first, *others):
        if not isinstance(arm, dict) or not all(isinstance(arm.get(key), kind) for key, kind in _ARM_FIELDS.items()):
            raise UserError("an entry of 'arms' is not valid")
    for arm in others:
        half, difference = arm.get("half_interval"), arm.get("difference")
        if not isinstance(difference, _NUMBER) or not (half is None or isinstance(half, _NUMBER)):
            raise UserError("an entry of 'arms' is not valid")
    return cast(Comparison, content)


def stored_comparison(content: bytes) -> Comparison:
    """Return the comparison in the bytes of compare.json.

    Raises:
        ValueError: the bytes have another form, or the recorded hash is not that of the comparison.
    """
    values = parse_json(content)
    if not has_valid_text(values):
        raise UserError("a text is not valid Unicode")
    comparison = parse_comparison(values)
    # A file of an earlier version has no hash.
    if "hash" in values and json.loads(hashed_json(values))["hash"] != values["hash"]:
        raise UserError("it does not have the hash of its own content")
    return comparison


def read_comparison(folder: Path, manifest_hash: str | None) -> Comparison | None:
    """Return the content of compare.json in a folder; None if it is missing or was measured on another dataset."""
    try:
        comparison = stored_comparison(read_own_file(folder / "compare.json"))
    except (OSError, ValueError):  # The file is missing or has another form.
        return None
    if comparison["data"].get("hash") != manifest_hash or len(comparison["arms"]) < 2:
        return None
    return comparison


def sentence(comparison: Comparison | None) -> Markdown:
    """Return the Markdown sentence for the card, with escaped values."""
    if comparison is None:
        return Markdown(NOT_MEASURED)
    first, *others = comparison["arms"]
    scores = [f"{escape_md(first['name'])} {_percent(first['top1'])}"]
    scores += [f"{escape_md(arm['name'])} {_percent(arm['top1'])} ({_difference(arm)})" for arm in others]
    seeds = len(comparison["seeds"])
    return Markdown(
        f"**Effect on training:** top-1 on split {escape_md(comparison['split'])} "
        f"({comparison['images']:,} images) " + ", ".join(scores) + f": {escape_md(comparison['model'])}, "
        f"{first['steps']:,} steps of {comparison['batch_size']} samples for every arm, {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}, differences to {escape_md(first['name'])} paired by seed with their "
        "95 % interval. Details: `compare.json`."
    )


def marked(text: Markdown) -> Markdown:
    """Return the sentence between the markers that `with_sentence` replaces."""
    return Markdown(f"{START}\n{text}\n{END}")


def with_sentence(card: str, text: Markdown) -> str:
    """Return the card with its marked sentence replaced; unchanged if the card has no markers."""
    return _MARKED.sub(lambda _: marked(text), card, count=1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _difference(arm: ComparedArm) -> str:
    """Return the difference to the first arm in percentage points, with its interval."""
    points = f"{100 * arm['difference']:+.1f}"
    if arm["half_interval"] is None:
        return f"{points}, one seed"
    interval = f"{points} ± {100 * arm['half_interval']:.1f}"
    return interval if arm["seen"] else f"no difference seen, {interval}"
