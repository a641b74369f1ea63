"""The recipe that a card prints: what made the dataset, as a file that loads once a few places are filled in.

Owns the way back from what a manifest records (identities) to what a recipe says (paths and revisions). Does not own
what is recorded (core/digests.py), nor what a recipe may say (core/validation.py).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from diffcore_hf.config.augment import Recipe, Source
from diffcore_hf.publishing.card.text import one_line

DEFAULTS = dataclasses.asdict(Recipe(source=Source(path="")))
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Plain words that a recipe file reads as numbers and safe_dump does not quote: 08, 1e5.
_NUMBER_TO_BE = re.compile(r"(?:[-+]?(?:[0-9]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?))\Z")


def is_hub(part: Mapping[str, Any]) -> bool:
    """Whether a recorded source, model or filter is one of the Hub: `org/name`, or a bare name pinned to a commit."""
    path, identity = part.get("path") or "", part.get("identity") or ""
    return bool(_HUB_ID.fullmatch(path) or (_HUB_NAME.fullmatch(path) and _COMMIT.fullmatch(identity)))


def adapters(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Path and identity of each adapter that a manifest records below `resolved.model`."""
    paths, identities = model.get("adapter_paths") or [], model.get("adapters") or []
    count = max(len(paths), len(identities))
    return [
        {
            "path": paths[i] if i < len(paths) else None,
            "identity": identities[i] if i < len(identities) else None,
        }
        for i in range(count)
    ]


def recipe_file(manifest: Mapping[str, Any], prefix: str = "", originals: bool = True) -> tuple[str, list[str]]:
    """The recipe as YAML, and the places in it that are to be filled in: keys whose `path` begins with `YOUR/`.

    Args:
        manifest: the content of diffcore.json.
        prefix: columns.prefix of the recipe, which no digest covers.
        originals: include_originals, likewise.
    """
    recipe, resolved = json.loads(json.dumps(manifest["recipe"])), manifest["resolved"]
    comments: dict[str, str] = {}

    def place(key: str, part: Mapping[str, Any]) -> dict[str, str]:
        path, identity = part.get("path") or "", part.get("identity") or ""
        if is_hub(part):
            return {"path": path} | ({"revision": identity} if _COMMIT.fullmatch(identity) else {})
        if path.startswith("package:"):
            return {"path": path}
        known = [path] if path.startswith("local:") else [path if path != "local" else "", identity]
        comments[key] = ", ".join(filter(None, known)) or "not recorded"
        return {"path": f"YOUR/{key.upper()}"}

    for key in ("source", "model", "filter"):
        section = {name: value for name, value in recipe.get(key, {}).items() if name not in ("identity", "revision")}
        recipe[key] = section | place(key, resolved[key])
    each = recipe["model"].get("adapters")
    if isinstance(each, dict):
        known = adapters(resolved["model"])
        recipe["model"]["adapters"] = [
            place(f"adapter-{number + 1}", known[number] if number < len(known) else {}) | options
            for number, options in enumerate(each["each"])
        ]
    review = recipe.pop("review", None)
    if prefix:
        recipe["columns"] = {"prefix": prefix}
    if not originals:
        recipe["include_originals"] = False
    lines = _yaml(_ordered(recipe, DEFAULTS))
    for key, what in comments.items():
        here = re.compile(rf"^([ -]*path: YOUR/{key.upper()})$", re.MULTILINE)
        lines = here.sub(lambda found, what=what: f"{found[1]}  # {_comment(what)}", lines)
    if review:
        digest = review.get("identity") if isinstance(review, dict) else review
        lines += f"# review: a person's verdicts (sha256 {_comment(digest)}) decided too; their file is not published\n"
    return lines, list(comments)


def _comment(text: Any) -> str:
    """One line of ASCII, whatever the text is."""
    return re.sub(r"[^ -~]", "?", one_line(text))


def _ordered(given: Any, model: Any) -> Any:
    """The mapping with its keys in the model's order, so that the card does not depend on how it was stored."""
    if not isinstance(given, dict) or not isinstance(model, dict):
        return given
    keys = [*(key for key in model if key in given), *sorted(key for key in given if key not in model)]
    return {key: _ordered(given[key], model.get(key)) for key in keys}


def _yaml(value: Any) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what core.layers.read_yaml would read as a number."""

    Dumper.add_implicit_resolver("tag:diffcore,2026:number", _NUMBER_TO_BE, list("-+.0123456789"))
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
