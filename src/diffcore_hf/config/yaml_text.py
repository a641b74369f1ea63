"""Parses YAML text into plain values, with the rules of YAML 1.2 and errors in one line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from diffcore_hf.core.errors import UserError, innermost_cause


class _Loader(yaml.SafeLoader):
    """Loads plain values as in YAML 1.2: `on`, `no` and dates are texts, `1e-4` is a number. A repeated key is an
    error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (the name is PyYAML's)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


# Each entry: tag, pattern of the plain values, and the first characters of such values.
_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+", [*"-+0123456789"]),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
    ("merge", "<<", ["<"]),
)
for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """Read an integer in base ten; PyYAML reads `010` as eight."""
    return int(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)


def read_yaml(text: str | bytes) -> Any:
    """Return the plain values of a YAML text.

    Raises:
        UserError: the text is not valid YAML. The message has the line and column if they are known.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{position}{' '.join((error.problem or error.context or 'not valid YAML').split())}") from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise UserError(f"not valid YAML: {innermost_cause(error)}") from None


def map_in_shell(values: Mapping[str, str]) -> str:
    """Return a map of texts as one word of a shell command, which a flag reads back exactly."""
    text = json.dumps(dict(values), ensure_ascii=False)
    escaped = "".join(character if character.isprintable() else f"\\U{ord(character):08X}" for character in text)
    return shlex.quote(escaped)
