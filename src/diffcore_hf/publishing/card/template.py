"""Templates: fills the Jinja templates in hub_cards/ and formats numbers in them.

Every inserted value is escaped, except values of type `Markdown` (text.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from diffcore_hf.publishing.card.text import code, escape_md, listed

if TYPE_CHECKING:
    from jinja2 import Template

MISSING = "–"
"""Text that is shown in the place of a missing number."""


def fill_template(name: str, values: Mapping[str, Any]) -> str:
    """Return the text of a template in hub_cards/ with the values inserted."""
    return _compiled(name).render(values)


@cache
def _compiled(name: str) -> Template:
    """Compile a template once in a process, because compiling takes longer than filling."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        finalize=escape_md, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"code": code, "listed": listed, "percent": percent, "number": number}
    template = (resources.files("diffcore_hf.hub_cards") / name).read_text(encoding="utf-8")
    return environment.from_string(template)


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as a percentage with one decimal."""
    return MISSING if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def number(value: float | None, digits: int | None = None) -> str:
    """Return a number as text.

    If `digits` is given, the text has that number of decimals. Otherwise an integer has thousands separators, and any
    other number is written as short as possible.
    """
    if value is None or math.isnan(value):
        return MISSING
    if digits is not None:
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
