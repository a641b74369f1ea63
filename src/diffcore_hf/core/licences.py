"""Licences: the restrictions that the names of licences in cards show, and the licences that a user has to accept.

Owns the rules by which the name of a licence shows a restriction. The texts of licences are not read. The licence of
the result is computed in publishing/card/licences.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from diffcore_hf.core.errors import UserError

_NON_COMMERCIAL = re.compile(r"(^|[-_ ])nc([-_ ]|$)|non-?commercial|research|academic|deepfloyd-if|apple-amlr")
_REACHES_DERIVED = re.compile(
    r"(^|[-_ ])(sa|nd)([-_ ]|$)|^(a|l)?gpl|(^|[-_ ])(open)?rail|odbl|sharing|share-?alike|^eupl|^osl|^llama|^gemma"
)


def licence_of_card(metadata: Mapping[str, Any]) -> str | None:
    """Return the licence that the metadata of a card declare; None if there is none.

    Several licences are separated by commas. A licence that the Hub does not list is returned as `other (name)`.
    """
    licence, name = metadata.get("license"), metadata.get("license_name")
    if isinstance(licence, list):
        return ", ".join(map(str, licence)) or None
    if licence == "other" and isinstance(name, str) and name.strip():
        return f"other ({name.strip()})"
    return str(licence) if licence else None


def restriction(licence: str | None) -> str:
    """Return what a licence restricts, as the end of a sentence about it; "" if its name shows no restriction."""
    text = (licence or "").lower()
    parts = [re.sub(r"^other \((.*)\)$", r"\1", part.strip()) for part in text.split(",")]
    found = []
    if any(map(_NON_COMMERCIAL.search, parts)):
        found.append("forbids commercial use")
    if any(map(_REACHES_DERIVED.search, parts)):
        found.append("also covers derived works, such as models that are trained on the images")
    return " and ".join(found)


def require_accepted(licences: Mapping[str, str | None], accepted: str | None) -> None:
    """Check that the user accepts each licence that restricts the result.

    Args:
        licences: name of the source, a model or an adapter, as the error names it -> its licence.
        accepted: key `accept_license` of the recipe: names with commas between them.

    Raises:
        UserError: a licence forbids commercial use or covers derived works, and is not accepted.
    """
    names = {name.strip().lower() for name in (accepted or "").split(",")}
    open_ones = {
        owner: licence
        for owner, licence in licences.items()
        if licence and restriction(licence) and not _bare(licence) <= names
    }
    if not open_ones:
        return
    owner, licence = next(iter(open_ones.items()))
    needed = sorted({name for each in open_ones.values() for name in _bare(each)} | (names - {""}))
    raise UserError(
        f"the licence of {owner} is {licence}, which {restriction(licence)}. "
        f'Read it, and accept it with --accept_license "{", ".join(needed)}"'
    )


def _bare(licence: str) -> set[str]:
    """Return the names of licences in lower case, without the prefix `other`."""
    return {re.sub(r"^other \((.*)\)$", r"\1", part.strip()).lower() for part in licence.split(",")}
