"""The command line: every key of a recipe as a flag, beside the few options of each verb (verbs.py, training/verb.py).

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

from diffcore_hf.commands.definitions import OVERVIEW, VERBS, Verb
from diffcore_hf.config.merging import read_yaml
from diffcore_hf.config.validation import nearest_keys, record, section, sections
from diffcore_hf.core.errors import UserError


@dataclass(frozen=True)
class Command:
    """What was typed."""

    verb: str
    target: str | None
    """WHAT, OUT or DIR; None where the verb has none."""
    layer: Mapping[str, Any]
    """The recipe's keys that were given as flags: the last layer."""
    options: Mapping[str, Any]
    """The verb's own options, complete."""
    others: tuple[str, ...] = ()
    """What stands behind the target, where the verb takes more than one."""


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
    commas: bool
    """Whether its list may be one text with commas."""

    @property
    def kinds(self) -> tuple[Any, ...]:
        whole = typing.get_origin(self.hint) in (None, Literal, tuple, dict)
        return (self.hint,) if whole else typing.get_args(self.hint)

    @property
    def several(self) -> bool:
        """Whether several values may follow."""
        return self.commas or tuple[str, ...] in self.kinds

    @property
    def metavar(self) -> str:
        return "|".join(_words(kind, self.commas) for kind in self.kinds if kind is not type(None))

    def value(self, tokens: Sequence[str]) -> Any:
        """What was typed, as a plain value."""
        if self.several and not (len(tokens) == 1 and re.match(r"\[|null$", tokens[0])):
            return ",".join(token.strip(",") for token in tokens) if self.commas else list(tokens)
        (text,) = tokens
        if type(None) in self.kinds and text.lower() in ("null", "none"):
            return None
        if all(kind in (str, type(None)) or _is_text_choice(kind) for kind in self.kinds):
            return text
        if set(self.kinds) == {bool, str}:
            return {"true": True, "false": False}.get(text.lower(), text)
        try:
            value = read_yaml(text)
        except ValueError as error:
            raise UserError(f"{self.key} is {text!r}, which is {error}. Quote the whole value") from None
        return text if isinstance(value, (int, float)) and dict[str, str] in self.kinds else value


def _is_text_choice(kind: Any) -> bool:
    return typing.get_origin(kind) is Literal and all(isinstance(choice, str) for choice in typing.get_args(kind))


def _words(kind: Any, commas: bool) -> str:
    """What a value of that type is called in --help."""
    if typing.get_origin(kind) is Literal:
        return "|".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple and commas:
        return f"{_words(typing.get_args(kind)[0], False)},..."
    plain = {str: "TEXT", int: "INT", float: "NUMBER", bool: "true|false", tuple[str, ...]: "TEXT ..."}
    return plain.get(kind, "YAML")


def parse_command(argv: Sequence[str]) -> Command:
    """The command of a command line; --help prints and exits with 0.

    Raises:
        UserError: one line for the user, to be shown behind `diffcore-hf: ` with exit status 2.
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
        raise UserError(f"{verb!r} is no verb; {hint}")
    return parse(rest, VERBS[verb])


def parse(argv: Sequence[str], verb: Verb) -> Command:
    """The command of what stands behind a verb; --help prints and exits with 0.

    Raises:
        UserError: one line for the user, to be shown behind the program's name with exit status 2.
    """
    own_flags = {key: flag for key, (flag, _) in _all_flags(verb.options).items()}
    flags = own_flags | {key: flag for key, (flag, scope) in _all_flags(verb.grammar.recipe).items()
                         if verb.takes(key, scope) and key not in own_flags}  # fmt: skip
    tokens, layer = _normalised(argv, verb, flags)
    target, others, given = _parse(verb, flags, tokens)
    options = {}
    for key, texts in given.items():
        value = flags[key].value(texts)
        if key in own_flags:
            options[key] = value
        else:
            layer = _put(layer, key.split("."), value)
    return Command(verb.name, target, layer, dataclasses.asdict(record(verb.grammar, verb.options, options)), others)


def field_docs(cls: type) -> dict[str, str]:
    """The docstring below each field of a dataclass."""
    body = ast.parse(inspect.getsource(cls)).body[0].body
    return {
        a.target.id: " ".join(b.value.value.split())
        for a, b in itertools.pairwise(body)
        if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }


def _all_flags(cls: type, path: str = "") -> dict[str, tuple[_Flag, str]]:
    """Dotted key -> (flag, scope) of every field below a dataclass; optional sections are walked like the others."""
    found: dict[str, tuple[_Flag, str]] = {}
    hints, docs = typing.get_type_hints(cls), field_docs(cls)
    for field in dataclasses.fields(cls):
        key = path + field.name
        if below := section(hints[field.name]):
            found |= _all_flags(below, key + ".")
        else:
            flag = _Flag(key, hints[field.name], field.default, docs[field.name], "commas" in field.metadata)
            found[key] = (flag, field.metadata.get("scope", "free"))
    return found


def _put(layer: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    head, *rest = path
    below = layer.get(head)
    return {**layer, head: _put(below if isinstance(below, Mapping) else {}, rest, value) if rest else value}


def _normalised(argv: Sequence[str], verb: Verb, flags: Mapping[str, _Flag]) -> tuple[list[str], dict[str, Any]]:
    """Flags as they are declared: underscores, `--strict` as `--strict true`; and the layer of whole sections."""
    whole = {k: cls for k, cls in sections(verb.grammar.recipe).items() if any(f.startswith(k + ".") for f in flags)}
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
        if key in whole:
            short = verb.grammar.shorthand.get(whole[key])
            if not is_equal and not (waiting and not waiting[0].startswith("--")):
                raise UserError(f"--{key} has no value. Use e.g. --{key}.{short or 'KEY'} VALUE")
            text = text if is_equal else waiting.pop(0)
            value = read_yaml(text) if text.startswith("{") or text in ("null", "none") else text
            if isinstance(value, str) and short:
                value = {short: value}
            layer = _put(layer, key.split("."), value)
        elif positive in flags and bool in flags[positive].kinds and not is_equal:
            following = waiting[0] if waiting and key == positive else "-"
            is_text = str in flags[positive].kinds and not following.startswith("-")
            is_value = is_text or following.lower() in ("true", "false")
            tokens.append(f"--{positive}={waiting.pop(0) if is_value else str(key == positive).lower()}")
        elif key in flags:
            tokens.append(f"--{key}{is_equal}{text}")
        else:
            raise UserError(_unknown(key, name, verb, flags))
    return tokens, layer


def _unknown(key: str, typed: str, verb: Verb, flags: Mapping[str, _Flag]) -> str:
    if key in _all_flags(verb.grammar.recipe):
        why = "it changes what was generated" if verb.takes("fraction", "decision") else "it belongs to a recipe"
        return f"{typed} is no flag of {verb.name}: {why}. Give it to augment"
    near = nearest_keys(key, flags)
    hint = f"did you mean {' or '.join('--' + name for name in near)}?" if near else f"see {verb.prog} --help"
    return f"{typed} is no flag of {verb.name}; {hint}"


def _parse(
    verb: Verb, flags: Mapping[str, _Flag], tokens: list[str]
) -> tuple[str | None, tuple[str, ...], dict[str, list[str]]]:
    """The target, what stands behind it, and the tokens of each flag that was given."""
    import tyro

    fields = _form(flags, sections(verb.grammar.recipe), "")
    places = [(verb.target, verb.says), *verb.more] if verb.target else []
    for number, (name, says) in reversed(list(enumerate(places))):
        place = tyro.conf.arg(help=says, metavar=name, help_behavior_hint="")
        target = Annotated[str, tyro.conf.Positional, place]
        fields = [(f"target_{number}", target, dataclasses.field(default="")), *fields]
    form = dataclasses.make_dataclass("Form", fields, frozen=True)
    examples = "\n".join(f"  {verb.program} {example}" for example in verb.examples)
    text = f"{inspect.getdoc(verb.options)}\n\nexamples:\n{examples}"
    if "--help" in tokens or "-h" in tokens:
        tyro.cli(form, args=["--help"], prog=verb.prog, description=text, use_underscores=True)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parsed = tyro.cli(form, args=tokens, prog=verb.prog, description=text, use_underscores=True)
    except SystemExit:
        raise UserError(_one_line(said.getvalue(), verb.prog)) from None
    given: dict[str, list[str]] = {}
    _collect(parsed, "", given)
    targets = [getattr(parsed, f"target_{number}") for number in range(len(places))]
    for (name, says), text in zip(places, targets, strict=True):
        if not text:
            what = says[0].lower() + says[1:-1]
            raise UserError(f"{name} is missing, {what}. Use e.g. {verb.program} {verb.examples[0]}")
    return targets[0] if targets else None, tuple(targets[1:]), given


def _form(flags: Mapping[str, _Flag], titles: Mapping[str, type], path: str) -> list[tuple[str, Any, Any]]:
    """The fields of a dataclass that has every flag below `path`, each keeping apart what was typed."""
    import tyro

    fields: list[tuple[str, Any, Any]] = []
    done: set[str] = set()
    for key, flag in flags.items():
        name, _, deeper = key.removeprefix(path).partition(".")
        if not key.startswith(path) or name in done:
            continue
        done.add(name)
        if deeper:
            below = dataclasses.make_dataclass(name, _form(flags, titles, f"{path}{name}."), frozen=True)
            below.__doc__ = inspect.getdoc(titles[path + name])
            fields.append((name, below, dataclasses.field(default=below())))
            continue
        spec = tyro.constructors.PrimitiveConstructorSpec(
            nargs="*" if flag.several else 1,
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
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "[]"
    return str(value) or "''"


def _collect(parsed: Any, path: str, given: dict[str, list[str]]) -> None:
    for field in dataclasses.fields(parsed):
        value = getattr(parsed, field.name)
        if isinstance(value, _Given):
            given[path + field.name] = value.tokens
        elif dataclasses.is_dataclass(value):
            _collect(value, f"{path}{field.name}.", given)


def _one_line(box: str, prog: str) -> str:
    """What the flag parser said, without its frame."""
    lines = [line.strip(" │╭╮╰╯─-|+") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines() if line[:1] != "╭"]
    told = [line for line in lines if line and not re.match(r"usage|For full helptext", line)]
    said = " ".join(told).rstrip(".")
    return f"{said or 'these flags make no command'}. See {prog} --help"


def _print_and_leave(text: str) -> NoReturn:
    sys.stdout.write(text)
    raise SystemExit(0)
