"""Writes the tables of recipe keys into docs/recipes.md while the site is built.

The tables come from the recipe dataclasses, so the page cannot differ from `--help`. A table replaces the line
`<!-- keys: NAME -->`, where NAME is `augment` or `train`.
"""

from __future__ import annotations

import re
from typing import Any

from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.fields import documented_keys
from diffcore_hf.config.train import TrainRecipe

MARK = re.compile(r"^<!-- keys: (\w+) -->$", re.MULTILINE)
RECIPES = {"augment": Recipe, "train": TrainRecipe}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces each marked line of a page by the table of that recipe's keys (an event of MkDocs)."""
    return MARK.sub(lambda match: keys_table(RECIPES[match[1]]), markdown)


def keys_table(recipe: type) -> str:
    """Returns a Markdown table: key, values, default, scope (if the recipe has scopes) and meaning of every key."""
    keys = documented_keys(recipe).values()
    scoped = any(key.scope for key in keys)
    head = ["key", "values", "default", *(["scope"] if scoped else []), "meaning"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for key in keys:
        default = "required" if key.default_text is None else f"`{key.default_text}`"
        cells = [f"`{key.name}`", f"`{key.type_text}`", default]
        cells += [key.scope or ""] if scoped else []
        lines.append(f"| {' | '.join([*cells, escaped(key.help)])} |")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Returns a text as the content of one table cell; inside backticks MkDocs needs no escape."""
    return text.replace("|", "\\|")
