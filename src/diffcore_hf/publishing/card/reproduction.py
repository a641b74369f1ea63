"""Reproduction: the recipe on a card, as a file that runs after its placeholders are replaced.

Owns the conversion of a manifest's identities to the paths and revisions of a recipe. Does not define the manifest
(core/manifest.py) or the recipe (config/).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from diffcore_hf.config.augment import Recipe, SourceConfig
from diffcore_hf.config.digests import NO_MODEL
from diffcore_hf.publishing.card.header import yaml_text
from diffcore_hf.publishing.card.text import one_line

DEFAULTS = dataclasses.asdict(Recipe(source=SourceConfig(path="")))
_PLACEHOLDER = "YOUR/"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_hub(section: Mapping[str, Any]) -> bool:
    """Return whether a recorded source, model or filter is on the Hub: `org/name`, or a name with a commit."""
    path, identity = section.get("path") or "", section.get("identity") or ""
    return bool(_HUB_ID.fullmatch(path) or (_HUB_NAME.fullmatch(path) and _COMMIT.fullmatch(identity)))


def adapters(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return path and identity of each adapter that a manifest records under `resolved.model`."""
    paths, identities = model.get("adapter_paths") or [], model.get("adapters") or []
    count = max(len(paths), len(identities))
    return [
        {"path": paths[i] if i < len(paths) else None, "identity": identities[i] if i < len(identities) else None}
        for i in range(count)
    ]


def recipe_file(manifest: Mapping[str, Any], prefix: str = "", originals: bool = True) -> tuple[str, list[str]]:
    """Return the recipe as YAML, and the placeholders in it, such as `YOUR/SOURCE`.

    Args:
        manifest: content of diffcore.json.
        prefix: `columns.prefix` of the recipe, which is not in the manifest.
        originals: `include_originals` of the recipe. The recipe in the manifest does not have this key.
    """
    recipe, resolved = json.loads(json.dumps(manifest["recipe"])), manifest["resolved"]
    comments: dict[str, str] = {}
    """Placeholder -> what is known about the path that it replaces."""

    def location(key: str, section: Mapping[str, Any]) -> dict[str, str]:
        path, identity = section.get("path") or "", section.get("identity") or ""
        if is_hub(section):
            return {"path": path} | ({"revision": identity} if _COMMIT.fullmatch(identity) else {})
        if path.startswith("package:"):
            return {"path": path}
        known = [path] if path.startswith("local:") else [path if path != "local" else "", identity]
        placeholder = _PLACEHOLDER + key.upper()
        comments[placeholder] = ", ".join(filter(None, known)) or "not recorded"
        return {"path": placeholder}

    if resolved["model"].get("identity") == NO_MODEL:
        recipe.pop("model", None)
        sections: tuple[str, ...] = ("source", "filter")
    else:
        sections = ("source", "model", "filter")
    for key in sections:
        section = {name: value for name, value in recipe.get(key, {}).items() if name not in ("identity", "revision")}
        recipe[key] = section | location(key, resolved[key])
    recorded = recipe.get("model", {}).get("adapters")
    if isinstance(recorded, dict):
        known_adapters = adapters(resolved["model"])
        recipe["model"]["adapters"] = [
            location(f"adapter-{number + 1}", known_adapters[number] if number < len(known_adapters) else {}) | options
            for number, options in enumerate(recorded["each"])
        ]
    for option, record in resolved["model"].get("weights", {}).items():
        found = location(option.replace("_", "-"), record)
        if option == "captioner":
            about = {name: value for name, value in recipe["prompts"][option].items() if name != "identity"}
            recipe["prompts"][option] = found | about
            continue
        recipe["strategy"]["options"] |= {option: found["path"]}
        if "revision" in found:
            recipe["strategy"]["options"] |= {f"{option}_revision": found["revision"]}
    review = recipe.pop("review", None)
    rows = recipe.get("select", {}).pop("rows", None)
    if not recipe.get("select", True):
        del recipe["select"]
    if prefix:
        recipe["columns"] = {"prefix": prefix}
    if not originals:
        recipe["include_originals"] = False
    text = yaml_text(_ordered(recipe, DEFAULTS), width=100)
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        key, _, value = line.rstrip("\n").partition(": ")
        if value in comments:
            lines[number] = f"{key}: {value}  # {_comment(comments[value])}\n"
    text = "".join(lines)
    if rows:
        digest = rows.get("identity") if isinstance(rows, dict) else rows
        text += f"# select.rows: the planned rows are the rows of a list (sha256 {_comment(digest)})\n"
    if review:
        digest = review.get("identity") if isinstance(review, dict) else review
        text += f"# review: unpublished verdicts of a reviewer were also applied (sha256 {_comment(digest)})\n"
    return text, list(comments)


def _comment(text: Any) -> str:
    """Return a text as one line of ASCII."""
    return re.sub(r"[^ -~]", "?", one_line(text))


def _ordered(given: Any, template: Any) -> Any:
    """Return a mapping with its keys in the order of `template`. So the card does not depend on the stored order."""
    if not isinstance(given, dict) or not isinstance(template, dict):
        return given
    keys = [*(key for key in template if key in given), *sorted(key for key in given if key not in template)]
    return {key: _ordered(given[key], template.get(key)) for key in keys}
