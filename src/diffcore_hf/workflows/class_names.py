"""Names of classes as pictures show them."""

from __future__ import annotations

from collections.abc import Sequence

from diffcore_hf.method.prompts import clean_label


def shown_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names without numbers and underscores, as in prompts; unchanged if two of them would be equal."""
    names = tuple(clean_label(name) or name for name in classes)
    return names if len(set(names)) == len(names) else tuple(classes)
