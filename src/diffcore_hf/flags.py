"""The command line: every key of a recipe as a flag, beside the few options of each verb (verbs.py).

Owns how argv is read. Flags that were given become the last layer of the recipe; whether their
values are right is core/validation.py's to say. tyro is imported only when a verb is parsed.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import inspect
import io
import itertools
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn

from diffcore_hf.core.layers import read_yaml
from diffcore_hf.core.recipe import Recipe
from diffcore_hf.core.validation import SHORTHAND, nearest_keys, record
from diffcore_hf.verbs import OVERVIEW, VERBS


@dataclass(frozen=True)
class Command:
    """What was typed."""

    verb: str
    target: str
    """WHAT, OUT or DIR."""
    layer: Mapping[str, Any]
    """The recipe's keys that were given as flags: the last layer."""
    options: Mapping[str, Any]
    """The verb's own options, complete."""


@dataclass(frozen=True)
class _Given:
    """A value that was typed, in place of a default."""

    tokens: list[str]


@dataclass(frozen=True)
class _Flag:
    """One flag: its place, type and words."""

    key: str
    hint: Any
    default: Any
    help: str

    @property
    def kinds(self) -> tuple[Any, ...]:
        whole = typing.get_origin(self.hint) in (None, Literal, tuple, dict)
        return (self.hint,) if whole else typing.get_args(self.hint)

    @property
    def metavar(self) -> str:
        words = []
        for kind in self.kinds:
            if typing.get_origin(kind) is Literal:
                words += typing.get_args(kind)
            elif kind is not type(None):
                plain = {str: "TEXT", int: "INT", float: "NUMBER", bool: "true|false"}
                words.append("TEXT ..." if kind == tuple[str, ...] else plain.get(kind, "YAML"))
        return "|".join(words)

    def value(self, tokens: Sequence[str]) -> Any:
        """What was typed, as a plain value."""
        if tuple[str, ...] in self.kinds and not (len(tokens) == 1 and re.match(r"\[|null$", tokens[0])):
            return list(tokens)
        (text,) = tokens
        if type(None) in self.kinds and text.lower() in ("null", "none"):
            return None
        if all(kind is str or typing.get_origin(kind) is Literal or kind is type(None) for kind in self.kinds):
            return text
        try:
            value = read_yaml(text)
        except ValueError as error:
            raise ValueError(f"{self.key} is {text!r}, which is {error}. Quote the whole value") from None
        return text if isinstance(value, (int, float)) and dict[str, str] in self.kinds else value


def parse_command(argv: Sequence[str]) -> Command:
    """The command of a command line; --help prints and exits with 0.

    Raises:
        ValueError: one line for the user, to be shown behind `diffcore-hf: ` with exit status 2.
    """
    verb, *rest = argv or ["--help"]
    if verb in ("-h", "--help", "help"):
        _print_and_leave(OVERVIEW)
    if verb == "--version":
        from diffcore_hf import __version__

        _print_and_leave(f"diffcore-hf {__version__}\n")
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}"
        raise ValueError(f"{verb!r} is no verb; {hint}")
    recipe_flags = {key: flag for key, (flag, scope) in _recipe_flags(Recipe).items() if VERBS[verb].takes(key, scope)}
    own_flags = {name: flag for name, (flag, _) in _recipe_flags(VERBS[verb].options).items()}
    flags = recipe_flags | own_flags
    tokens, layer = _normalised(rest, verb, flags)
    target, given = _parse(verb, flags, tokens)
    options = {}
    for key, texts in given.items():
        value = flags[key].value(texts)
        if key in own_flags:
            options[key] = value
        else:
            layer = _put(layer, key.split("."), value)
    return Command(verb, target, layer, dataclasses.asdict(record(VERBS[verb].options, options)))


def field_docs(cls: type) -> dict[str, str]:
    """The docstring below each field of a dataclass."""
    body = ast.parse(inspect.getsource(cls)).body[0].body
    return {
        a.target.id: " ".join(b.value.value.split())
        for a, b in itertools.pairwise(body)
        if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }


def _recipe_flags(cls: type, path: str = "") -> dict[str, tuple[_Flag, str]]:
    """Dotted key -> (flag, scope) of every field below a dataclass; optional sections are walked like the others."""
    found: dict[str, tuple[_Flag, str]] = {}
    hints, docs = typing.get_type_hints(cls), field_docs(cls)
    for field in dataclasses.fields(cls):
        key = path + field.name
        if section := _section(hints[field.name]):
            found |= _recipe_flags(section, key + ".")
        else:
            flag = _Flag(key, hints[field.name], field.default, docs[field.name])
            found[key] = (flag, field.metadata.get("scope", "free"))
    return found


def _section(hint: Any) -> type | None:
    """The dataclass that a field is, or may be; None for plain values and lists."""
    if typing.get_origin(hint) is tuple:
        return None
    return next((t for t in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(t)), None)


def _sections(cls: type, path: str = "") -> dict[str, type]:
    found: dict[str, type] = {}
    for name, hint in typing.get_type_hints(cls).items():
        if section := _section(hint):
            found |= {path + name: section} | _sections(section, f"{path}{name}.")
    return found


def _put(layer: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    head, *rest = path
    below = layer.get(head)
    return {**layer, head: _put(below if isinstance(below, Mapping) else {}, rest, value) if rest else value}


def _normalised(argv: Sequence[str], verb: str, flags: Mapping[str, _Flag]) -> tuple[list[str], dict[str, Any]]:
    """Flags as they are declared: underscores, `--strict` as `--strict true`; and the layer of whole sections."""
    sections = {key: cls for key, cls in _sections(Recipe).items() if any(f.startswith(key + ".") for f in flags)}
    tokens: list[str] = []
    layer: dict[str, Any] = {}
    waiting = list(argv)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--") or token in ("--", "--help"):
            tokens.append(token)
            continue
        name, is_equal, text = token.partition("=")
        key = name[2:].replace("-", "_")
        positive = key.removeprefix("no_")
        if key in sections:
            if not is_equal and not waiting:
                raise ValueError(f"--{key} has no value. Use e.g. --{key}.{SHORTHAND.get(sections[key], 'KEY')} VALUE")
            text = text if is_equal else waiting.pop(0)
            value = read_yaml(text) if text.startswith("{") or text in ("null", "none") else text
            if isinstance(value, str) and sections[key] in SHORTHAND:
                value = {SHORTHAND[sections[key]]: value}
            layer = _put(layer, key.split("."), value)
        elif positive in flags and bool in flags[positive].kinds and not is_equal:
            said = waiting.pop(0) if key == positive and waiting and waiting[0].lower() in ("true", "false") else None
            tokens.append(f"--{positive}={said or str(key == positive).lower()}")
        elif key in flags:
            tokens.append(f"--{key}{is_equal}{text}")
        else:
            raise ValueError(_unknown(key, name, verb, flags))
    return tokens, layer


def _unknown(key: str, typed: str, verb: str, flags: Mapping[str, _Flag]) -> str:
    if key in _recipe_flags(Recipe):
        why = "it changes what was generated" if VERBS[verb].takes("fraction", "decision") else "it belongs to a recipe"
        return f"{typed} is no flag of {verb}: {why}. Give it to augment"
    near = nearest_keys(key, flags)
    hint = f"did you mean {' or '.join('--' + name for name in near)}?" if near else f"see diffcore-hf {verb} --help"
    return f"{typed} is no flag of {verb}; {hint}"


def _parse(verb: str, flags: Mapping[str, _Flag], tokens: list[str]) -> tuple[str, dict[str, list[str]]]:
    """The target and the tokens of each flag that was given."""
    import tyro

    about = VERBS[verb]
    place = tyro.conf.arg(help=about.says, metavar=about.target, help_behavior_hint="")
    target = Annotated[str, tyro.conf.Positional, place]
    fields = [("target_", target, dataclasses.field(default="")), *_form(flags, "")]
    form = dataclasses.make_dataclass("Form", fields, frozen=True)
    examples = "\n".join(f"  diffcore-hf {example}" for example in about.examples)
    prog = f"diffcore-hf {verb}"
    text = f"{inspect.getdoc(about.options)}\n\nexamples:\n{examples}"
    if "--help" in tokens or "-h" in tokens:
        tyro.cli(form, args=["--help"], prog=prog, description=text, use_underscores=True)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parsed = tyro.cli(form, args=tokens, prog=prog, description=text, use_underscores=True)
    except SystemExit:
        raise ValueError(_one_line(said.getvalue(), verb)) from None
    given: dict[str, list[str]] = {}
    _collect(parsed, "", given)
    if not parsed.target_:
        what = about.says[0].lower() + about.says[1:-1]
        raise ValueError(f"{about.target} is missing, {what}. Use e.g. diffcore-hf {about.examples[0]}")
    return parsed.target_, given


def _form(flags: Mapping[str, _Flag], path: str) -> list[tuple[str, Any, Any]]:
    """The fields of a dataclass that has every flag below `path`, each keeping apart what was typed."""
    import tyro

    fields: list[tuple[str, Any, Any]] = []
    sections = _sections(Recipe)
    done: set[str] = set()
    for key, flag in flags.items():
        name, _, deeper = key.removeprefix(path).partition(".")
        if not key.startswith(path) or name in done:
            continue
        done.add(name)
        if deeper:
            below = dataclasses.make_dataclass(name, _form(flags, f"{path}{name}."), frozen=True)
            below.__doc__ = inspect.getdoc(sections[path + name])
            fields.append((name, below, dataclasses.field(default=below())))
            continue
        spec = tyro.constructors.PrimitiveConstructorSpec(
            nargs="*" if tuple[str, ...] in flag.kinds else 1,
            metavar=flag.metavar,
            instance_from_str=_Given,
            is_instance=lambda value: True,
            str_from_instance=lambda value: [str(value)],
        )
        required = flag.default is dataclasses.MISSING
        hint = "" if required else f"(default: {_default(flag.default)})"
        arg = tyro.conf.arg(help=flag.help.replace("`", ""), help_behavior_hint=hint)
        fields.append((name, Annotated[Any, spec, arg], dataclasses.field(default=None if required else flag.default)))
    return fields


def _default(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return {(): "[]", "": "''"}.get(value, str(value))


def _collect(parsed: Any, path: str, given: dict[str, list[str]]) -> None:
    for field in dataclasses.fields(parsed):
        value = getattr(parsed, field.name)
        if isinstance(value, _Given):
            given[path + field.name] = value.tokens
        elif dataclasses.is_dataclass(value):
            _collect(value, f"{path}{field.name}.", given)


def _one_line(box: str, verb: str) -> str:
    """What the flag parser said, without its frame."""
    lines = [line.strip(" │╭╮╰╯─-|+") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    told = [line for line in lines if line and not re.match(r"usage|For full helptext", line)]
    said = " ".join(told).rstrip(".")
    return f"{said or 'these flags make no command'}. See diffcore-hf {verb} --help"


def _print_and_leave(text: str) -> NoReturn:
    sys.stdout.write(text)
    raise SystemExit(0)
