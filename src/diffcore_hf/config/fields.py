"""Fields of a recipe class: functions that declare and list them, and the schema of a whole recipe.

A recipe is a frozen dataclass whose sections are frozen dataclasses too. A dotted key such as `model.gamma` names
field `gamma` of section `model`. Each field is declared with one of these functions, which store its help text and its
scope in its metadata:

    attempt    changes the content of an attempt; a run with another value cannot continue an output folder
    decision   changes which counterparts are planned or kept; a run with another value can continue an output folder
    free       changes neither attempts nor decisions
    option     has no scope; used for fields of a training recipe and options of a command
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

SCOPES = ("attempt", "decision", "free")


def option(default: Any = dataclasses.MISSING, *, help: str, commas: bool = False, example: str = "") -> Any:
    """Declare a field without a scope.

    Args:
        default: default value. If it is not given, the field is required.
        help: one or two sentences for `--help` and the documentation.
        commas: whether a list may also be given as one text with commas.
        example: a valid value, for the remedy in an error.
    """
    metadata = {"help": help} | ({"commas": True} if commas else {}) | ({"example": example} if example else {})
    return dataclasses.field(default=default, metadata=metadata)


def attempt(default: Any = dataclasses.MISSING, *, help: str) -> Any:
    """Declare a field that changes the content of an attempt."""
    return dataclasses.field(default=default, metadata={"scope": "attempt", "help": help})


def decision(default: Any = dataclasses.MISSING, *, help: str) -> Any:
    """Declare a field that changes which counterparts are planned or kept."""
    return dataclasses.field(default=default, metadata={"scope": "decision", "help": help})


def free(default: Any = dataclasses.MISSING, *, help: str) -> Any:
    """Declare a field that changes neither attempts nor decisions."""
    return dataclasses.field(default=default, metadata={"scope": "free", "help": help})


class Rule(NamedTuple):
    """The range of a value."""

    expects: str
    """The expected value, as error messages state it: `a number in (0, 1]`."""
    holds: Callable[[Any], bool]
    example: str
    """A valid value, for the remedy in an error."""


@dataclass(frozen=True)
class RecipeSchema:
    """The rules of a recipe that its fields do not contain, for validation, merging and the command line."""

    recipe: type
    """The frozen dataclass of the whole recipe."""
    rules: Mapping[str, Rule]
    """Dotted key -> range of its value."""
    check: Callable[[Any], None]
    """Checks the rules between fields; raises UserError for the first broken rule."""
    shorthand: Mapping[type, str]
    """Section class -> the field that a plain text sets: `model: org/name` means `model: {path: org/name}`."""
    presets: Mapping[str, Mapping[str, Any]]
    """Name of a preset -> its values. The recipe file and the flags override them."""
    describing_keys: Mapping[tuple[str, ...], tuple[str, tuple[str, ...]]]
    """Section -> (its main key, the keys that are valid only for one value of the main key). For example, the main key
    of `model` is `path`, and `revision` is valid only for one path. If a flag changes the path, the revision in the
    recipe file is ignored."""


class Key(NamedTuple):
    """One key of a recipe or one option of a command, as documented."""

    name: str
    """Dotted name: `model.gamma`."""
    hint: Any
    """Type of the value."""
    default: Any
    """Default value; dataclasses.MISSING for a required key."""
    help: str
    scope: str | None
    """`attempt`, `decision` or `free`; None for a key without a scope."""
    commas: bool
    """Whether a list may also be given as one text with commas."""
    example: str = ""
    """A valid value, for the remedy in an error."""

    @property
    def type_text(self) -> str:
        """The type as the documentation shows it: `INT|null`, `rank|mean`, `TEXT ...`."""
        return "|".join(_kind_text(kind, self.commas) for kind in alternatives(self.hint))

    @property
    def default_text(self) -> str | None:
        """The default as it is written in a recipe; None for a required key."""
        return None if self.default is dataclasses.MISSING else yaml_value(self.default)


def documented_keys(cls: type, path: str = "") -> dict[str, Key]:
    """Return a map from the dotted name of every key of a recipe class to its Key, in order of declaration.

    The fields of optional sections (`model.scheduler`) are included. The fields of sections in a list
    (`model.adapters`) are not.
    """
    keys: dict[str, Key] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name, below = join(path, field.name), section(hints[field.name])
        if below is not None:
            keys |= documented_keys(below, name)
        else:
            scope, commas = field.metadata.get("scope"), "commas" in field.metadata
            about = field.metadata.get("help", ""), scope, commas, field.metadata.get("example", "")
            keys[name] = Key(name, hints[field.name], field.default, *about)
    return keys


def leaves(cls: type, path: str = "") -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """Return a map from dotted key to (field, type) for every field that is not a section.

    An optional section is one field.
    """
    result: dict[str, tuple[dataclasses.Field[Any], Any]] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name = join(path, field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            result |= leaves(hints[field.name], name)
        else:
            result[name] = (field, hints[field.name])
    return result


def section(hint: Any) -> type | None:
    """Return the section class that a field of this type holds or may hold; None for plain values and lists."""
    if typing.get_origin(hint) is tuple:
        return None
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return kind
    return None


def sections(cls: type, path: str = "") -> dict[str, type]:
    """Return a map from the dotted key to the class of every section, including optional sections."""
    result: dict[str, type] = {}
    for name, hint in typing.get_type_hints(cls).items():
        if below := section(hint):
            where = join(path, name)
            result |= {where: below} | sections(below, where)
    return result


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union; (hint,) for any other type."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def join(path: str, name: str) -> str:
    """Return the dotted key of a name below a path; either may be empty."""
    return ".".join(part for part in (path, name) if part)


def yaml_value(value: Any) -> str:
    """Return a plain value as it is written in a recipe or on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "[]"
    return str(value) or "''"


def shown(value: Any) -> str:
    """Return a value as text for an error message: one line of at most 80 characters."""
    if value is None or isinstance(value, bool):
        return yaml_value(value)
    text = " ".join(repr(list(value) if isinstance(value, tuple) else value).split())
    return text if len(text) <= 80 else text[:77] + "..."


_KINDS: Mapping[Any, str] = {
    str: "TEXT",
    int: "INT",
    float: "NUMBER",
    bool: "true|false",
    type(None): "null",
    tuple[str, ...]: "TEXT ...",
}


def _kind_text(kind: Any, commas: bool) -> str:
    """Return the documented text for one type of a union."""
    if typing.get_origin(kind) is Literal:
        return "|".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple and commas:
        return f"{_kind_text(typing.get_args(kind)[0], False)},..."
    return _KINDS.get(kind, "YAML")
