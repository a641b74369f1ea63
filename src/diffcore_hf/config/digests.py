"""The two digests of a recipe, and the differences between two recipes.

Owns the choice of the fields that each digest covers, and the canonical bytes that are hashed. The caller first
replaces `auto` and null, and determines the identities (commits, hashes of local folders).
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.context_lists import CAPTIONS
from diffcore_hf.config.fields import leaves
from diffcore_hf.config.mappings import to_mapping

CHECKED_PER_FACT = (("source", "label_names"), ("prompts", "label_descriptions"))
"""Fields that change only the names of classes in prompts. The attempt digest does not cover them, because every fact
records the prompts that made it (augmentation/inputs.py). So the name of a class can be added or corrected later."""
_DEFAULT_STRATEGY = {"name": "text_to_image", "options": None}
NO_MODEL = "none"
"""Placeholder for the identity of the model when the strategy uses no model. Section `model` is then in no digest."""


def scopes(cls: type = Recipe) -> dict[str, str | None]:
    """Return a map from the dotted key of every field below `cls` to its scope; None for a field without a scope.

    A section that may be null has one entry, not one for each of its fields.
    """
    return {key: field.metadata.get("scope") for key, (field, _) in leaves(cls).items()}


def canonical(values: Any) -> bytes:
    """Return the canonical JSON of plain values: sorted keys, no spaces, ASCII."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def attempt_digest(resolved: Recipe, identities: Mapping[str, Any], stage_versions: Mapping[str, str]) -> str:
    """Return 32 hex digits over all fields that change the content of every attempt.

    It does not cover the rows of the source, its commit, and the names of classes, because every fact records them and
    a run compares them for each fact. For a Hub source, it covers the repository. For a local source, it covers only
    the names of the columns.

    Args:
        resolved: a recipe in which the run has replaced `auto` and null.
        identities: identities of `source`, `model`, `filter` and, if there are any, `adapters` and `weights` (option of
            the strategy -> identity). They replace paths and revisions.
        stage_versions: name of each stage -> its VERSION.
    """
    return _digest(resolved, identities, stage_versions, ("attempt",))


def recipe_digest(resolved: Recipe, identities: Mapping[str, Any], stage_versions: Mapping[str, str]) -> str:
    """Return 32 hex digits over the fields of the attempt digest and all fields that change the decisions.

    The decisions are which units are planned and which attempts are kept. The digest covers the policy with the
    parameters that it uses, and the content of the review (its identity).
    """
    return _digest(resolved, identities, stage_versions, ("attempt", "decision"))


def digests_of_fields(
    fields: Mapping[str, Any], stage_versions: Mapping[str, str], source_path: str | None
) -> tuple[str, str]:
    """Return the attempt digest and the recipe digest of recorded fields, such as those in diffcore.json.

    Args:
        fields: the result of `fields_with_identities` for both scopes.
        stage_versions: name of each stage -> its VERSION.
        source_path: repository of a Hub source.
    """
    of_attempt = _of_scope(copy.deepcopy(dict(fields)), "attempt", "")
    for section, name in CHECKED_PER_FACT:
        of_attempt.get(section, {}).pop(name, None)
    if of_attempt.get("strategy") == _DEFAULT_STRATEGY:
        del of_attempt["strategy"]
    source = of_attempt.get("source", {})
    identity = str(source.pop("identity", ""))
    if identity and not identity.startswith("local:"):
        source["repository"] = source_path
    return tuple(_digest_of_values(values, stage_versions) for values in (of_attempt, fields))  # type: ignore[return-value]


def _of_scope(fields: dict[str, Any], wanted: str, path: str) -> dict[str, Any]:
    """Return the fields of one scope. A section without such a field is left out. Identities are always kept."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        key = f"{path}{name}"
        below = {scope for dotted, scope in scopes().items() if dotted == key or dotted.startswith(f"{key}.")}
        if below and wanted not in below:
            continue
        is_section = len(below) > 1 and isinstance(value, dict)
        kept[name] = _of_scope(value, wanted, f"{key}.") if is_section else value
    return kept


def fields_with_identities(
    recipe: Recipe, identities: Mapping[str, Any], wanted_scopes: Collection[str]
) -> dict[str, Any]:
    """Return the fields of some scopes, with identities instead of paths and revisions.

    Without scope `decision`, these are the fields of the attempt digest. `attempt_digest` lists what they leave out.

    Raises:
        ValueError: an identity is missing.
    """
    of_attempt = "decision" not in wanted_scopes
    values = copy.deepcopy(to_mapping(recipe, wanted_scopes))
    if of_attempt:
        for section, name in CHECKED_PER_FACT:
            values.get(section, {}).pop(name, None)
    _replace_captions(values.get("prompts", {}), identities)
    if identities.get("model") == NO_MODEL:
        values.pop("model", None)
    for section in ("source", "model", "filter"):
        fields = values.get(section, {})
        if "path" in fields:
            path = fields.pop("path")
            del fields["revision"]
            identity = _identity(identities, section)
            if identity.startswith("local:"):
                # The identity covers the files that were read; their names are private.
                fields.pop("data_files", None)
            elif section == "source" and of_attempt:
                fields["repository"] = path
            if section != "source" or not of_attempt:
                fields["identity"] = identity
    if adapters := values.get("model", {}).get("adapters"):
        for adapter in adapters:
            del adapter["path"], adapter["revision"]
        values["model"]["adapters"] = {"identity": _identity(identities, "adapters"), "each": adapters}
    options = values.get("strategy", {}).get("options") or {}
    for option in options.keys() & dict(identities.get("weights") or {}).keys():
        options[option] = identities["weights"][option]
        del options[f"{option}_revision"]
    if not values.get("filter", {}).get("checks", True):
        # An empty list of checks is left out, so that digests that were computed before this key existed stay the same.
        del values["filter"]["checks"]
    if not values.get("filter", {}).get("compare", True):
        # An empty list of comparisons is left out for the same reason.
        del values["filter"]["compare"]
    if values.get("source", {}).get("grey_range") == "dtype":
        # The default range is left out, so that digests that were computed before this key existed stay the same.
        del values["source"]["grey_range"]
    if "strategy" in values and not (strategy := _without_defaults(values["strategy"])):
        del values["strategy"]
    elif "strategy" in values:
        values["strategy"] = strategy
    if select := {name: value for name, value in values.pop("select", {}).items() if value is not None}:
        # Null values are left out, so that digests that were computed before these keys existed stay the same.
        if "rows" in select:
            select["rows"] = {"identity": _identity(identities, "rows")}
        values["select"] = select
    if values.get("review") is not None:
        values["review"] = {"identity": _identity(identities, "review")}
    return values


def _replace_captions(prompts: dict[str, Any], identities: Mapping[str, Any]) -> None:
    """Replace contexts from captions by the identity of the captioner, because each fact records its own context.

    Without captions the recipe contains the contexts themselves (context_lists.py), so both keys are null.
    """
    if prompts.get("contexts_from") != CAPTIONS:
        prompts.pop("contexts_from", None)
        prompts.pop("captioner", None)
        return
    prompts.pop("contexts", None)
    captioner = prompts["captioner"]
    del captioner["path"], captioner["revision"]
    captioner["identity"] = identities["weights"]["captioner"]


def _without_defaults(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """Return section `strategy` without the defaults of keys that did not exist when earlier digests were computed.

    The result is empty for the default strategy, because earlier recipes had no section `strategy`.
    """
    defaults: dict[str, Any] = {"targets": (None, "own"), "gamma_label": (1.0,)}
    values = {name: value for name, value in strategy.items() if value not in defaults.get(name, ())}
    return {} if values == _DEFAULT_STRATEGY else values


def _identity(identities: Mapping[str, Any], name: str) -> str:
    if not identities.get(name):
        raise ValueError(
            f"no identity of {name!r} among {sorted(identities)}; resolve it before you compute the digest"
        )
    return identities[name]


def _digest(
    recipe: Recipe, identities: Mapping[str, Any], versions: Mapping[str, str], wanted_scopes: Collection[str]
) -> str:
    return _digest_of_values(fields_with_identities(recipe, identities, wanted_scopes), versions)


def _digest_of_values(fields: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    values = {"recipe": fields, "stages": dict(versions)}
    return hashlib.sha256(canonical(values)).hexdigest()[:32]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line such as `model.gamma: 2.0 -> 3.0` for every dotted key whose value differs, sorted by key."""
    before, after = _flat(old), _flat(new)
    missing = object()
    lines = []
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key, missing), after.get(key, missing)
        if a is missing or b is missing or canonical(a) != canonical(b):
            lines.append(f"{key}: {' -> '.join('(absent)' if v is missing else _shown(v) for v in (a, b))}")
    return lines


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        dotted_key = f"{path}.{key}" if path else key
        flat |= _flat(value, dotted_key) if isinstance(value, Mapping) and value else {dotted_key: value}
    return flat


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 100 else text[:97] + "..."
