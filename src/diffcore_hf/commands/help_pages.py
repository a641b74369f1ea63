"""The help page of a command: its purpose, examples, arguments, options, and the keys of the recipe by section."""

from __future__ import annotations

import argparse
import inspect
import shutil
from collections.abc import Mapping
from functools import partial

from diffcore_hf.commands.definitions import Verb
from diffcore_hf.config.fields import Key, sections


def help_page(verb: Verb, own: Mapping[str, Key], keys: Mapping[str, Key]) -> str:
    """Return the text of `--help`.

    Args:
        verb: the command.
        own: options of the command.
        keys: keys of the recipe that the command takes.
    """
    names = [verb.target, *(name for name, _ in verb.more)] if verb.target else []
    shown = [*names[:-1], f"{names[-1]} ..."] if verb.repeats else names
    examples = "\n".join(f"  {verb.program} {example}" for example in verb.examples)
    width = min(shutil.get_terminal_size().columns, 110)
    parser = argparse.ArgumentParser(
        prog=verb.prog,
        usage=" ".join([verb.prog, "[-h]", "[OPTIONS]", *shown]),
        description=f"{inspect.getdoc(verb.options)}\n\nexamples:\n{examples}",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=30, width=width),
        add_help=False,
    )
    descriptions = [verb.target_help, *(text for _, text in verb.more)]
    for name, description in zip(names, descriptions if names else [], strict=True):
        parser.add_argument(name, help=_escaped(description))
    if own:
        _add_group(parser, "options", None, own)
    recipe = verb.schema.recipe
    if top := {name: key for name, key in keys.items() if "." not in name}:
        _add_group(parser, "keys of the recipe", inspect.getdoc(recipe), top)
    for path, cls in sections(recipe).items():
        if inside := {name: key for name, key in keys.items() if name.rpartition(".")[0] == path}:
            _add_group(parser, path, inspect.getdoc(cls), inside)
    return parser.format_help()


def _add_group(parser: argparse.ArgumentParser, title: str, description: str | None, keys: Mapping[str, Key]) -> None:
    group = parser.add_argument_group(title, description)
    for key in keys.values():
        text = key.help.replace("`", "")
        if key.default_text is not None:
            text += f" (default: {key.default_text})"
        group.add_argument(f"--{key.name}", metavar=key.type_text, help=_escaped(text))


def _escaped(text: str) -> str:
    """Return a text for argparse, which formats help with the % operator."""
    return text.replace("%", "%%")
