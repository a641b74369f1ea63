"""The command line: every key of a recipe is a flag, in addition to the options of each command (definitions.py).

Owns the reading of argv. The flags become the last layer of the recipe, and config/validation.py checks their values.

This module reads argv without a library, because the flags come from the recipe. `--model org/name` and
`--model.gamma 3` are both valid. An item of a map of options is a flag too: `--strategy.options.strength 0.5`.
`--strict` means `--strict true`. The items of a list are separated by commas or spaces. The error for an unknown flag
names the most similar key. help_pages.py formats the help pages with argparse.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from diffcore_hf.commands.definitions import OVERVIEW, VERBS, Verb
from diffcore_hf.commands.help_pages import help_page
from diffcore_hf.config.fields import Key, alternatives, documented_keys, sections
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.config.validation import build_section, nearest_keys
from diffcore_hf.config.yaml_text import read_yaml
from diffcore_hf.core.errors import UserError


@dataclass(frozen=True)
class Command:
    """A parsed command line."""

    verb: str
    target: str
    """WHAT, OUT, REPO or DIR; empty if the command has none."""
    layer: Mapping[str, Any]
    """The keys of the recipe that were given as flags. They override all other layers."""
    options: Mapping[str, Any]
    """All options of the command, with defaults filled in."""
    others: tuple[str, ...] = ()
    """Arguments after the target, if the command takes more than one."""


@dataclass
class _Arguments:
    """The parts of argv before their values are parsed."""

    positional: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)
    """Key -> texts given for it."""
    layer: dict[str, Any] = field(default_factory=dict)
    """Sections that were given as a whole: `--model org/name`, `--filter.policy '{name: mean}'`."""


def parse_command(argv: Sequence[str]) -> Command:
    """Read a command line of `diffcore-hf`. --help and --version print a text and exit with status 0.

    Raises:
        UserError: the line is wrong; the message names the flag or value and a remedy.
    """
    verb, *rest = argv or ["--help"]
    if verb in ("-h", "--help", "help"):
        _print_and_exit(OVERVIEW)
    if verb == "--version":
        from diffcore_hf import __version__

        _print_and_exit(f"diffcore-hf {__version__}\n")
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(VERBS)}"
        raise UserError(f"{verb!r} is not a command; {hint}")
    return parse(rest, VERBS[verb])


def parse(argv: Sequence[str], verb: Verb) -> Command:
    """Read the arguments of a command. --help prints the help page and exits with status 0.

    Raises:
        UserError: the line is wrong; the message names the flag or value and a remedy.
    """
    own, keys = verb.flags()
    flags = own | keys
    if "--help" in argv or "-h" in argv:
        _print_and_exit(help_page(verb, own, keys))
    arguments = _read(argv, verb, flags)
    target, *others = _positional(verb, arguments.positional) or [""]
    options: dict[str, Any] = {}
    layer: Mapping[str, Any] = arguments.layer
    for name, texts in arguments.values.items():
        value = _plain_value(flags[name], texts) if name in flags else _yaml_value(name, texts[0])
        if name in own:
            options[name] = value
        else:
            layer = _put(layer, name.split("."), value)
    complete = dataclasses.asdict(build_section(verb.schema, verb.options, options))
    return Command(verb.name, target, layer, complete, tuple(others))


def _read(argv: Sequence[str], verb: Verb, flags: Mapping[str, Key]) -> _Arguments:
    """Divide argv into positional arguments, values of flags and whole sections."""
    all_sections = sections(verb.schema.recipe)
    whole = {name: cls for name, cls in all_sections.items() if any(flag.startswith(name + ".") for flag in flags)}
    result = _Arguments()
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        if token == "--":
            result.positional += rest
            break
        if not token.startswith("-"):
            result.positional.append(token)
            continue
        if not token.startswith("--"):
            raise UserError(f"{token} is not an option. Options start with two dashes. See {verb.prog} --help")
        typed, has_value, text = token.partition("=")
        name = typed[2:].replace("-", "_")
        if has_value:
            rest.insert(0, text)
        if name in whole:
            value = _section_value(name, whole[name], verb, rest, bool(has_value))
            result.layer = _put(result.layer, name.split("."), value)
        elif not has_value and _is_switch(flags.get(name.removeprefix("no_"))):
            result.values[name.removeprefix("no_")] = [_switch_value(name, flags, rest)]
        elif (inside := _map_around(name, flags)) is not None:
            result.values[name] = _texts(inside, rest, bool(has_value))
        elif name not in flags:
            raise UserError(_unknown_flag(name, typed, verb, flags))
        else:
            result.values[name] = _texts(flags[name], rest, bool(has_value))
    return result


def _map_around(name: str, flags: Mapping[str, Key]) -> Key | None:
    """Return the key of a map if the flag names an item of it, as `--strategy.options.strength` does; else None.

    Only maps of plain data have such flags. The other maps have names of classes as keys.
    """
    key = flags.get(name.rpartition(".")[0])
    is_map = key is not None and dict[str, Any] in alternatives(key.hint)
    return key if is_map and not name.endswith(".") else None


def _texts(key: Key, rest: list[str], has_value: bool) -> list[str]:
    """Remove the texts of a flag from the start of `rest` and return them. A list ends before the next flag."""
    if has_value:
        return [rest.pop(0)]
    if not _is_list(key):
        if not rest or rest[0].startswith("--"):
            raise UserError(f"--{key.name} has no value. Use --{key.name} {key.example or key.type_text}")
        return [rest.pop(0)]
    texts = []
    while rest and not rest[0].startswith("--"):
        texts.append(rest.pop(0))
    return texts


def _switch_value(name: str, flags: Mapping[str, Key], rest: list[str]) -> str:
    """Return the text of a flag that needs no value: `--strict`, `--no-strict`, `--strict false`."""
    if name not in flags:  # the form --no-strict
        return "false"
    takes_text = str in alternatives(flags[name].hint)
    if rest and (rest[0].lower() in ("true", "false") or (takes_text and not rest[0].startswith("-"))):
        return rest.pop(0)
    return "true"


def _section_value(name: str, cls: type, verb: Verb, rest: list[str], has_value: bool) -> Any:
    """Return the value of a whole section: null or a mapping. A plain text becomes a mapping with one key."""
    short = verb.schema.shorthand.get(cls)
    if not rest or (not has_value and rest[0].startswith("--")):
        raise UserError(f"--{name} has no value. Use e.g. --{name}.{short or 'KEY'} VALUE")
    text = rest.pop(0)
    value = _yaml_value(name, text) if text.startswith("{") or text in ("null", "none") else text
    return {short: value} if isinstance(value, str) and short else value


def _positional(verb: Verb, given: Sequence[str]) -> list[str]:
    """Return the positional arguments of a command; raise UserError if one is missing or too many are given."""
    expected = [(verb.target, verb.target_help), *verb.more] if verb.target else []
    if len(given) > len(expected) and not verb.repeats:
        raise UserError(f"{given[len(expected)]!r} is one argument too many. See {verb.prog} --help")
    for number, (name, description) in enumerate(expected):
        if number >= len(given) or not given[number]:
            what = description[0].lower() + description[1:-1]
            raise UserError(f"{name} is missing, {what}. Use e.g. {verb.program} {verb.examples[0]}")
    return list(given)


def _unknown_flag(name: str, typed: str, verb: Verb, flags: Mapping[str, Key]) -> str:
    """Return the message about a flag that the command does not have."""
    if name in documented_keys(verb.schema.recipe):
        if verb.schema is TRAIN_SCHEMA:
            return f"{typed} is not a flag of {verb.name}: it changes a training. Give it to recipes/train.py"
        takes_decisions = verb.takes("fraction", "decision")
        reason = "it changes the attempts" if takes_decisions else "it is a key of a recipe"
        return f"{typed} is not a flag of {verb.name}: {reason}. Give it to augment"
    near = nearest_keys(name, flags)
    hint = f"did you mean {' or '.join('--' + key for key in near)}?" if near else f"see {verb.prog} --help"
    return f"{typed} is not a flag of {verb.name}; {hint}"


def _is_switch(key: Key | None) -> bool:
    return key is not None and bool in alternatives(key.hint)


def _is_list(key: Key) -> bool:
    return key.commas or tuple[str, ...] in alternatives(key.hint)


def _is_list_of_sections(key: Key) -> bool:
    return any(
        typing.get_origin(kind) is tuple and dataclasses.is_dataclass(typing.get_args(kind)[0])
        for kind in alternatives(key.hint)
    )


def _plain_value(key: Key, texts: Sequence[str]) -> Any:
    """Return the texts of a flag as the plain value that the key has in a recipe file."""
    kinds = alternatives(key.hint)
    if _is_list(key) and not (len(texts) == 1 and re.match(r"\[|null$", texts[0])):
        return ",".join(text.strip(",") for text in texts) if key.commas else list(texts)
    (text,) = texts
    if type(None) in kinds and text.lower() in ("null", "none"):
        return None
    if all(kind in (str, type(None)) or _is_choice_of_texts(kind) for kind in kinds):
        return text
    if set(kinds) == {bool, str}:
        return {"true": True, "false": False}.get(text.lower(), text)
    value = _yaml_value(key.name, text)
    if isinstance(value, (str, Mapping)) and _is_list_of_sections(key):
        return [value]
    return text if isinstance(value, (int, float)) and dict[str, str] in kinds else value


def _yaml_value(name: str, text: str) -> Any:
    """Return the value of a key or section that is given as YAML."""
    try:
        return read_yaml(text)
    except UserError as error:
        raise UserError(f"{name} is {text!r}, which cannot be read ({error}). Quote the whole value") from None


def _is_choice_of_texts(kind: Any) -> bool:
    return typing.get_origin(kind) is Literal and all(isinstance(choice, str) for choice in typing.get_args(kind))


def _put(layer: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return the layer with a value at a path. A value on the path that is not a section is replaced by a section."""
    head, *rest = path
    if not rest:
        return {**layer, head: value}
    below = layer.get(head)
    return {**layer, head: _put(below if isinstance(below, Mapping) else {}, rest, value)}


def _print_and_exit(text: str) -> NoReturn:
    sys.stdout.write(text)
    raise SystemExit(0)
