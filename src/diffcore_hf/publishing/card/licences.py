"""Licences: the licence of the result, from those of the source and the model.

A licence is never guessed. Where one is unknown, the publisher has to decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_HUB_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_UNKNOWN = ("", "unknown", "other", "none")


def is_known(licence: object) -> bool:
    """Return whether a recorded licence names particular terms."""
    return str(licence or "").strip().lower() not in _UNKNOWN


def licences_of_result(manifest: Mapping[str, Any]) -> list[str]:
    """Return the licences of the source and of the model, without repetition; [] where one of them is unknown.

    With adapters the result is [] as well, because their licences are not recorded.
    """
    if manifest["recipe"].get("model", {}).get("adapters"):
        return []
    licences = [manifest["resolved"][section].get("licence") for section in ("source", "model")]
    if not all(map(is_known, licences)):
        return []
    return list(dict.fromkeys(str(licence).strip() for licence in licences))


def hub_licence(licences: Sequence[str]) -> str | list[str]:
    """Return the value of the card's `license`: `unknown` for none, `other` for terms that the Hub has no id for."""
    if not licences:
        return "unknown"
    if not all(map(_HUB_ID.fullmatch, licences)):
        return "other"
    return licences[0] if len(licences) == 1 else list(licences)
