"""The grammar of a kind of recipe: what validation, layers and flags need to know beyond its fields.

Owns the record alone. The grammar of an augmentation is declared in rules.py, that of a training beside its recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a value must be."""

    expects: str
    holds: Callable[[Any], bool]
    example: str


@dataclass(frozen=True)
class Grammar:
    """How a recipe may be said."""

    recipe: type
    """The frozen dataclass of the whole."""
    rules: Mapping[str, Rule]
    """Dotted key -> the range of its value."""
    check: Callable[[Any], None]
    """The rules between fields: raises a UserError for the first that is broken."""
    shorthand: Mapping[type, str]
    """A plain text where one of these sections is expected means this field of it."""
    presets: Mapping[str, Mapping[str, Any]]
    """Name -> the layer that lies below all others."""
    bound: Mapping[tuple[str, ...], tuple[str, tuple[str, ...]]]
    """Section -> the key that names something, and the keys that speak of what it names: naming another drops what
    earlier layers said of the old one (a commit, a configuration, a policy's parameters)."""


def shown(value: Any) -> str:
    """A value as it may stand in one line of an error."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = " ".join(repr(list(value) if isinstance(value, tuple) else value).split())
    return text if len(text) <= 80 else text[:77] + "..."
