"""Merges layers of plain values into a recipe.

A later layer overrides an earlier one: defaults, preset, file, then flags or keywords.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from diffcore_hf.config.fields import RecipeSchema, alternatives, section
from diffcore_hf.config.validation import construct
from diffcore_hf.core.errors import UserError


def build(schema: RecipeSchema, *layers: Mapping[str, Any]) -> Any:
    """Return the recipe of some layers; a later layer overrides an earlier one.

    If a layer has the key `preset`, the values of that preset are the first layer. If several layers have it, the
    preset of the last of them is used. A text in place of a section sets the path or name of that section.

    Raises:
        UserError: a key or value is wrong; the message has the dotted key, its value and a remedy.
    """
    expanded = [as_sections(schema, schema.recipe, layer) for layer in layers]
    preset = next((layer["preset"] for layer in reversed(expanded) if "preset" in layer), None)
    if preset is not None and (not isinstance(preset, str) or preset not in schema.presets):
        raise UserError(f"preset is {preset!r}, not {', '.join(schema.presets)} or null")
    merged: Mapping[str, Any] = schema.presets[preset] if preset else {}
    for layer in expanded:
        merged = _merge(schema, schema.recipe, merged, layer, ())
    return construct(schema, merged)


def as_sections(schema: RecipeSchema, cls: type, layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layer with its sections expanded: `model: org/name` becomes `model: {path: org/name}`."""
    hints = typing.get_type_hints(cls)
    result = {}
    for key, value in layer.items():
        section_class = section(hints.get(key))
        if section_class and isinstance(value, str) and section_class in schema.shorthand:
            value = {schema.shorthand[section_class]: value}
        elif section_class and isinstance(value, Mapping):
            value = as_sections(schema, section_class, value)
        result[key] = value
    return result


def _merge(
    schema: RecipeSchema, kind: Any, earlier: Mapping[str, Any], later: Mapping[str, Any], path: tuple[str, ...]
) -> dict[str, Any]:
    """Merge two layers key by key inside sections, maps of maps and maps of options.

    A map of texts, such as `source.label_names`, is replaced as a whole.

    Args:
        schema: schema of the whole recipe.
        kind: section class at `path`, or the type of a map of maps.
        earlier: the result of the earlier layers.
        later: the layer that overrides them.
        path: keys from the recipe down to this section.
    """
    result = dict(earlier)
    if path in schema.describing_keys:
        name, describing = schema.describing_keys[path]
        if name in later and later[name] != earlier.get(name, _default(schema.recipe, (*path, name))):
            result = {key: value for key, value in earlier.items() if key not in describing}
    hints = typing.get_type_hints(kind) if isinstance(kind, type) else {}
    for key, value in later.items():
        old_value, nested_type = result.get(key), section(hints.get(key)) or _map_of_maps(hints.get(key))
        if isinstance(value, Mapping) and isinstance(old_value, Mapping):
            if nested_type:
                value = _merge(schema, nested_type, old_value, value, (*path, key))
            elif dict[str, Any] in alternatives(hints.get(key)):
                value = {**old_value, **value}
        result[key] = value
    return result


def _map_of_maps(hint: Any) -> Any:
    """Return the type of a field that is a map of maps, such as `arms`; None if the field is something else."""
    for kind in (hint, *typing.get_args(hint)):
        if typing.get_origin(kind) is dict and typing.get_origin(typing.get_args(kind)[1]) is dict:
            return kind
    return None


def _default(cls: type, path: tuple[str, ...]) -> Any:
    """Return the default of the field at a path; None if it has no default."""
    value: Any = cls
    for name in path:
        value = getattr(value, name, None)
    return value
