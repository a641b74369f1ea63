"""Writes the tables of recipe keys into docs/recipes.md while the site is built.

The tables come from the recipe dataclasses, so the page cannot differ from `--help`. A table replaces the line
`<!-- keys: NAME -->`, where NAME is `augment` or `train`.
"""

from __future__ import annotations

import re
from typing import Any

from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.train import TrainRecipe

MARK = re.compile(r"^<!-- keys: (\w+) -->$", re.MULTILINE)
RECIPES = {"augment": Recipe, "train": TrainRecipe}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces each marked line of a page by the table of that recipe's keys (an event of MkDocs)."""
    return MARK.sub(lambda match: keys_table(RECIPES[match[1]]), markdown)


def keys_table(recipe: type) -> str:
    """Returns a Markdown table: key, type, default, scope and meaning of every field below a recipe class."""
    from diffcore_hf.commands.parser import _all_flags, _default

    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for key, (flag, _scope) in _all_flags(recipe).items():
        default = "required" if flag.help and str(flag.default).startswith("<dataclasses._MISSING") else _default(flag.default)
        lines.append(f"| `{key}` | {cell(flag.metavar)} | {cell(default)} | {cell(flag.help, code=False)} |")
    return "\n".join(lines)


def cell(text: str, *, code: bool = True) -> str:
    """Returns a text as one table cell; `|` is escaped."""
    text = text.replace("|", "\\|")
    return f"`{text}`" if code else text
