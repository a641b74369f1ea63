"""Layers of a recipe: defaults < preset < file < flags or keywords, merged as plain mappings and built once.

Owns how layers meet, and where the recipe of an augmentation comes from (a file, WHAT of the command line, keywords).
Which values are right is validation.py; fields and schema are recipe.py and rules.py, for a training its own; flags
become a layer in flags.py.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import typing
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from diffcore_hf.config.augment import Policy, Recipe, policy_parameters
from diffcore_hf.config.augment_rules import AUGMENT_SCHEMA
from diffcore_hf.config.fields import SCOPES, RecipeSchema, section
from diffcore_hf.config.validation import construct
from diffcore_hf.core.errors import UserError

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def build_recipe(*layers: Mapping[str, Any]) -> Recipe:
    """The recipe of an augmentation, of its layers; see `build`."""
    return build(AUGMENT_SCHEMA, *layers)


def build(schema: RecipeSchema, *layers: Mapping[str, Any]) -> Any:
    """The recipe of the layers, later ones first in rank.

    `preset`, wherever it is given (the last one counts), comes before the first layer. A text where a section is
    expected means its path or name.

    Raises:
        UserError: one line with the dotted key, its value and the way out.
    """
    sections = [_as_sections(schema, schema.recipe, layer) for layer in layers]
    preset = next((layer["preset"] for layer in reversed(sections) if "preset" in layer), None)
    if preset is not None and (not isinstance(preset, str) or preset not in schema.presets):
        raise UserError(f"preset is {preset!r}, not {' or '.join(schema.presets)} or null")
    merged: Mapping[str, Any] = schema.presets[preset] if preset else {}
    for layer in sections:
        merged = _merge(schema, schema.recipe, merged, layer, ())
    return construct(schema, merged)


def _as_sections(schema: RecipeSchema, cls: type, layer: Mapping[str, Any]) -> dict[str, Any]:
    """The layer with sections spelled out: `model: org/name` as `model: {path: org/name}`."""
    hints = typing.get_type_hints(cls)
    result = {}
    for key, value in layer.items():
        below = section(hints.get(key))
        if isinstance(value, str) and below in schema.shorthand:
            value = {schema.shorthand[below]: value}
        elif isinstance(value, Mapping) and below:
            value = _as_sections(schema, below, value)
        result[key] = value
    return result


def _merge(
    schema: RecipeSchema, cls: Any, below: Mapping[str, Any], above: Mapping[str, Any], at: tuple[str, ...]
) -> dict[str, Any]:
    """Key by key inside sections and maps of maps; other maps are values of the user's and replace each other whole."""
    result = dict(below)
    if at in schema.bound:
        name, bound = schema.bound[at]
        if name in above and above[name] != below.get(name, _default(schema.recipe, (*at, name))):
            result = {key: value for key, value in below.items() if key not in bound}
    hints = typing.get_type_hints(cls) if dataclasses.is_dataclass(cls) else {}
    for key, value in above.items():
        under, deeper = result.get(key), section(hints.get(key)) or _map_of_maps(hints.get(key))
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        result[key] = _merge(schema, deeper, under, value, (*at, key)) if both and deeper else value
    return result


def _map_of_maps(hint: Any) -> Any:
    """That type among those of a field, such as `arms`; None where there is none."""
    kinds = [kind for kind in (hint, *typing.get_args(hint)) if typing.get_origin(kind) is dict]
    return next((kind for kind in kinds if typing.get_origin(typing.get_args(kind)[1]) is dict), None)


def _default(cls: type, path: tuple[str, ...]) -> Any:
    """What a field at that path is where nothing is said; None where it has no default."""
    return functools.reduce(lambda at, name: getattr(at, name, None), path, cls)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values: `on`, `no` and dates are texts, `1e-4` is a number; a key given twice is an error."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 (the name is PyYAML's)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     list("-+.0123456789")),
    ("merge", "<<", ["<"]),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))


def read_yaml(text: str | bytes) -> Any:
    """The plain values of a YAML text.

    Raises:
        UserError: one line with the place.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{place}{' '.join((error.problem or error.context or 'no YAML').split())}") from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise UserError("no YAML: " + " ".join(str(error).split())[:200]) from None


def read_recipe_file(path: str | Path, begin: str = "source: {path: ./photos}") -> Mapping[str, Any]:
    """The keys of a recipe file, as they stand there; relative paths in it are relative to the current directory.

    Args:
        path: the file.
        begin: what a file without keys should begin with.

    Raises:
        UserError: unreadable, no YAML (with the line) or no mapping.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. Give a recipe file or the name of a shipped recipe") from None
    try:
        values = read_yaml(content)
    except ValueError as error:
        raise UserError(f"{path}: {error}. Correct the recipe file") from None
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path}: holds no keys of a recipe. Begin with e.g. {begin}")
    return values


def shipped_files() -> dict[str, Path]:
    """Name -> file of every recipe that comes with the package; those of trainings end in -train."""
    try:
        entries = list(resources.files("diffcore_hf.recipes").iterdir())
    except ModuleNotFoundError:
        return {}
    return {entry.name[:-5]: Path(str(entry)) for entry in entries if entry.name.endswith(".yaml")}


def shipped_recipes() -> list[str]:
    """The names of the recipes of augmentations that come with the package."""
    return sorted(name for name in shipped_files() if not name.endswith("-train"))


def shipped_recipe(name: str) -> Path | None:
    """Where the shipped recipe of that name lies; None where there is none."""
    return shipped_files()[name] if name in shipped_recipes() else None


def what_layer(what: str) -> Mapping[str, Any]:
    """The layer that WHAT of the command line stands for.

    In this order: an existing file is a recipe, an existing folder a source, a name without slash a shipped recipe,
    a name with one slash a dataset on the Hub.

    Raises:
        UserError: none of these.
    """
    path = Path(what)
    try:
        is_file, is_folder = path.is_file(), path.is_dir() and bool(what)
    except (OSError, ValueError):
        is_file = is_folder = False
    if is_file:
        if path.suffix not in (".yaml", ".yml"):
            raise UserError(f"{what!r} is a file, but no recipe (.yaml). For files of data give their folder, "
                             "or --source.path and --source.data_files")  # fmt: skip
        return read_recipe_file(path)
    if is_folder:
        return {"source": {"path": what}}
    if shipped := shipped_recipe(what):
        return read_recipe_file(shipped)
    if HUB_ID.fullmatch(what) and path.suffix not in (".yaml", ".yml") and "--" not in what and ".." not in what:
        return {"source": {"path": what}}
    names = shipped_recipes()
    near = difflib.get_close_matches(what, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"the shipped recipes are {', '.join(names)}"
    raise UserError(f"{what!r} is no file, no folder, no Hub id (org/name) and no shipped recipe; {hint}")


def keywords_layer(**keywords: Any) -> Mapping[str, Any]:
    """The layer of Python keywords: recipe keys, nested by mapping or dotted; `split` is short for `source.split`.

    Raises:
        UserError: the same key twice, or a dotted key below something that is no section.
    """
    layer: dict[str, Any] = {}
    for key, value in keywords.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        *sections, last = ("source.split" if key == "split" else key).split(".")
        nested: Any = {last: value}
        for name in reversed(sections):
            nested = {name: nested}
        layer = _combine(layer, _as_sections(AUGMENT_SCHEMA, Recipe, nested), "")
    return layer


def _combine(a: Mapping[str, Any], b: Mapping[str, Any], path: str) -> dict[str, Any]:
    result = dict(a)
    for key, value in b.items():
        where = f"{path}.{key}" if path else key
        if key in result and not (isinstance(result[key], Mapping) and isinstance(value, Mapping)):
            raise UserError(f"{where} is given twice, as {result[key]!r} and {value!r}. Leave one out")
        result[key] = _combine(result[key], value, where) if key in result else value
    return result


def to_mapping(recipe: Any, scopes: Collection[str] = SCOPES) -> dict[str, Any]:
    """The recipe as plain values (JSON, YAML), only the fields of the wanted scopes; empty sections are left out.

    Of the policy only its name and the parameters that it reads, with their defaults.
    """
    result: dict[str, Any] = {}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if isinstance(value, Policy):
            if field.metadata["scope"] in scopes:
                result[field.name] = {"name": value.name, **policy_parameters(value)}
        elif dataclasses.is_dataclass(value):
            if below := to_mapping(value, scopes):
                result[field.name] = below
        elif field.metadata.get("scope", "free") in scopes:
            result[field.name] = _as_data(value)
    return result


def _as_data(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, (list, tuple)):
        return [_as_data(item) for item in value]
    return {key: _as_data(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def to_yaml(recipe: Any, scopes: Collection[str] = SCOPES) -> str:
    """The recipe as a recipe file."""
    return yaml.safe_dump(to_mapping(recipe, scopes), sort_keys=False, allow_unicode=True, width=120)


def default_output(recipe: Recipe) -> str:
    """`out/<last part of source.path>`, in letters, digits, dot, dash and underscore."""
    return f"out/{last_part(recipe.source.path)}"


def last_part(path: str) -> str:
    """What a folder is called after the dataset at that path: its last part, in harmless letters."""
    last = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    if last in ("", ".", ".."):
        last = Path(path).resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "dataset"
