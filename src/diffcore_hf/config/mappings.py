"""Converts a recipe to plain values, for digests, run.json, the manifest and recipe files."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import yaml

from diffcore_hf.config.fields import SCOPES
from diffcore_hf.config.policy import PolicyConfig, policy_parameters


def to_mapping(recipe: Any, scopes: Collection[str] = SCOPES) -> dict[str, Any]:
    """Return the fields of some scopes as plain values; empty sections are left out.

    A policy is given by its name and the parameters that it uses, with defaults filled in.
    """
    result: dict[str, Any] = {}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if isinstance(value, PolicyConfig):
            if field.metadata["scope"] in scopes:
                result[field.name] = {"name": value.name, **policy_parameters(value)}
        elif dataclasses.is_dataclass(value):
            if below := to_mapping(value, scopes):
                result[field.name] = below
        elif field.metadata.get("scope", "free") in scopes:
            result[field.name] = _plain(value)
    return result


def to_yaml(recipe: Any, scopes: Collection[str] = SCOPES) -> str:
    """Return the fields of some scopes as the text of a recipe file."""
    return yaml.safe_dump(to_mapping(recipe, scopes), sort_keys=False, allow_unicode=True, width=120)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value
