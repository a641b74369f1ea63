"""Builds a recipe from plain values and checks every key, type and range.

Owns the construction of the dataclasses and the error messages. Ranges, short forms and the rules between fields
come from the schema of the recipe.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from diffcore_hf.config.fields import RecipeSchema, Rule, alternatives, join, leaves, shown
from diffcore_hf.core.errors import UserError


def construct(schema: RecipeSchema, values: Mapping[str, Any]) -> Any:
    """Return the recipe with these merged values.

    Raises:
        UserError: a key or value is wrong; the message has the dotted key, its value and a remedy.
    """
    recipe = build_section(schema, schema.recipe, values)
    schema.check(recipe)
    return recipe


def build_section(schema: RecipeSchema, cls: type, values: Any, path: str = "") -> Any:
    """Build one section from plain values and check its keys and types.

    Args:
        schema: schema of the whole recipe.
        cls: class of the section.
        values: a mapping, or a plain text if the class has a short form.
        path: dotted key of the section, for errors.
    """
    if isinstance(values, str) and cls in schema.shorthand:
        values = {schema.shorthand[cls]: values}
    if not isinstance(values, Mapping):
        raise UserError(f"{path} is {shown(values)}, not a section of keys. Leave it out, or give keys below it")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise UserError(unknown_key(schema, join(path, str(key)), [join(path, name) for name in hints]))
    built = {}
    for field in dataclasses.fields(cls):
        dotted_key, hint = join(path, field.name), hints[field.name]
        if field.name in values:
            value = _listed(values[field.name], hint) if "commas" in field.metadata else values[field.name]
            built[field.name] = _value(schema, hint, value, dotted_key, field.default)
        elif field.default is dataclasses.MISSING:
            name = join(dotted_key, schema.shorthand.get(hint, ""))
            example = _rule(schema, dotted_key, name).example or field.metadata.get("example") or "VALUE"
            use = f"path: {example}" if "[" in name else f"--{name} {example}"
            raise UserError(f"{name} is missing. Use e.g. {use}")
    return cls(**built)


def _listed(value: Any, hint: Any) -> Any:
    """Convert a text with commas, or a single value, to a list. Return any other value unchanged."""
    if isinstance(value, str):
        items = [item.strip() for item in value.split(",")] if value.strip() else []
        kind = typing.get_args(hint)[0]
        return [_number(item, kind) if kind in (int, float) else item for item in items]
    return [value] if isinstance(value, (bool, int, float)) else value


def _number(text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text


def unknown_key(schema: RecipeSchema, key: str, known: list[str]) -> str:
    """Return the message about an unknown key, with the most similar known keys."""
    near = nearest_keys(key, [*known, *(k for k in leaves(schema.recipe) if k not in known)])
    hint = f"did you mean {' or '.join(near)}?" if near else f"the keys are {', '.join(known)}"
    return f"{key} is not a key of a recipe; {hint}"


def nearest_keys(key: str, known: Iterable[str]) -> list[str]:
    """Return at most three dotted keys whose last name is similar to the last name of `key`.

    Keys of the same section are preferred.
    """

    def similarity(other: str) -> float:
        (section, _, name), (other_section, _, other_name) = key.rpartition("."), other.rpartition(".")
        return difflib.SequenceMatcher(None, name, other_name).ratio() + 0.1 * (section == other_section)

    scored = sorted(((similarity(other), other) for other in known), key=lambda pair: -pair[0])
    return [other for score, other in scored[:3] if score >= 0.7 and score >= scored[0][0] - 0.05]


def _value(schema: RecipeSchema, hint: Any, value: Any, path: str, default: Any) -> Any:
    """Convert a value to its declared type. Raise UserError for a wrong type or range."""
    options = alternatives(hint)
    if value is None:
        if type(None) in options:
            return None
        raise _wrong(schema, path, value, _describe(options), default)
    for option in options:
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            return build_section(schema, option, value, path)
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(option)[0]
            items = tuple(_value(schema, inner, v, f"{path}[{i}]", None) for i, v in enumerate(value))
            return _checked_range(schema, path, items, default)
        if (plain := _plain(option, value, path)) is not _NO_MATCH:
            return _checked_range(schema, path, plain, default)
    choices: list[str] = []
    for option in options:
        if typing.get_origin(option) is Literal:
            choices += [choice for choice in typing.get_args(option) if isinstance(choice, str)]
    if choices and isinstance(value, str) and (near := difflib.get_close_matches(value, choices, 1)):
        raise UserError(f"{path} is {value!r}, not {_describe(options)}; did you mean {near[0]}?")
    raise _wrong(schema, path, value, _describe(options), default)


_NO_MATCH = object()
"""Returned by `_plain` for a value of another type. It is not None, because None can be a valid result."""


def _plain(option: Any, value: Any, path: str) -> Any:
    """Return a value as a scalar, choice or map; _NO_MATCH if it does not have the type `option`."""
    if typing.get_origin(option) is Literal:
        is_choice = isinstance(value, (str, int)) and not isinstance(value, bool)
        return value if is_choice and value in typing.get_args(option) else _NO_MATCH
    if typing.get_origin(option) is dict:
        return _mapping(value, path, typing.get_args(option)[1]) if isinstance(value, Mapping) else _NO_MATCH
    if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if abs(value) < 1e300 else _NO_MATCH  # the comparison is also false for nan
    if option is int and isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**63 else _NO_MATCH
    if option in (str, bool) and type(value) is option:
        return value
    return _NO_MATCH


def _mapping(value: Mapping[Any, Any], path: str, kind: Any) -> dict[str, Any]:
    """Return a map with text keys; integers become texts, so that `{0: cat}` names integer labels.

    The items are texts, plain data, or (in a map of maps such as `arms`) sets of recipe keys. These sets are checked
    later, when they are merged into the recipe.
    """
    result = {}
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise UserError(f"{path} has the key {key!r}, which is not a text. Quote it: '{key}'")
        if kind is str and not isinstance(item, str):
            raise UserError(f"{path}.{key} is {shown(item)}, not a text. Quote it: '{item}'")
        if kind is Any and not _is_data(item):
            raise UserError(f"{path}.{key} is {shown(item)}, not a number, a text, true, false, null or a list")
        if typing.get_origin(kind) is dict and not isinstance(item, Mapping):
            raise UserError(f"{path}.{key} is {shown(item)}, not a section of keys. Give keys below it")
        if str(key) in result:
            raise UserError(f"{path} has the key {key!r} twice. Leave one out")
        result[str(key)] = item
    return result


def _is_data(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return all(_is_data(i) and not isinstance(i, (list, tuple)) for i in item)
    return item is None or isinstance(item, (str, bool, int)) or (isinstance(item, float) and math.isfinite(item))


def _checked_range(schema: RecipeSchema, path: str, value: Any, default: Any) -> Any:
    rule = schema.rules.get(path)
    if rule and not rule.holds(value):
        raise _wrong(schema, path, value, rule.expects, default)
    return value


def _rule(schema: RecipeSchema, *paths: str) -> Rule:
    return next((schema.rules[p] for p in paths if p in schema.rules), Rule("", bool, ""))


def _wrong(schema: RecipeSchema, path: str, value: Any, expects: str, default: Any = None) -> UserError:
    example = _rule(schema, path, path.partition("[")[0]).example
    if not example and isinstance(default, (str, bool, int, float)):
        example = _as_flag(default)
    if isinstance(value, int) and abs(value) >= 2**63 and "an integer" in expects:
        expects = "an integer between -2^63 and 2^63"
    message = f"{path} is {shown(value)}, not {_rule(schema, path).expects or expects}"
    if expects.startswith("a text") and value != "" and not isinstance(value, (list, Mapping, type(None))):
        return UserError(f"{message}. Quote it: '{value}'")
    return UserError(f"{message}. Use e.g. {example}" if example else message)


def _as_flag(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _describe(options: tuple[Any, ...]) -> str:
    names = {str: "a text", int: "an integer", float: "a number", bool: "true or false", type(None): "null"}
    words: list[str] = []
    for option in options:
        if typing.get_origin(option) is Literal:
            words += map(str, typing.get_args(option))
        elif typing.get_origin(option) is dict:
            words.append("a map of names to values")
        elif typing.get_origin(option) is tuple:
            words.append("a list")
        else:
            words.append(names.get(option) or "a section of keys")
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
