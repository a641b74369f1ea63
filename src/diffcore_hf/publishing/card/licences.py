"""Licences: computes the licence of the result from those of the source, the model and the weights of the strategy.

A licence is never guessed. If one of them is unknown, the publisher has to decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from diffcore_hf.core.licences import restriction

_HUB_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_UNKNOWN = ("", "unknown", "other", "none")


def is_known(licence: object) -> bool:
    """Return whether a recorded licence is a particular licence, and not `unknown` or `other`."""
    return str(licence or "").strip().lower() not in _UNKNOWN


def licences_of_result(manifest: Mapping[str, Any]) -> list[str]:
    """Return the distinct licences of the source, the model and the weights that options of the strategy name.

    The result is [] if one of them is unknown, or if the recipe has adapters, because their licences are not recorded.
    """
    if manifest["recipe"].get("model", {}).get("adapters"):
        return []
    licences = [manifest["resolved"][section].get("licence") for section in ("source", "model")]
    licences += [record.get("licence") for record in manifest["resolved"]["model"].get("weights", {}).values()]
    if not all(map(is_known, licences)):
        return []
    return list(dict.fromkeys(str(licence).strip() for licence in licences))


def restrictions(manifest: Mapping[str, Any]) -> list[str]:
    """Return a sentence about each licence whose name shows that it restricts the use of the result."""
    resolved = manifest["resolved"]
    model = resolved["model"]
    licences = [("the source", resolved["source"].get("licence")), ("the model", model.get("licence"))]
    licences += [("an adapter", licence) for licence in model.get("adapter_licences") or ()]
    licences += [(f"`{option}`", about.get("licence")) for option, about in model.get("weights", {}).items()]
    return [
        f"The licence of {owner}, {licence}, {found}." for owner, licence in licences if (found := restriction(licence))
    ]


def hub_licence(licences: Sequence[str]) -> str | list[str]:
    """Return the card's value of `license`: `unknown` if there are none, `other` if the Hub has no id for one of
    them."""
    if not licences:
        return "unknown"
    if not all(map(_HUB_ID.fullmatch, licences)):
        return "other"
    return licences[0] if len(licences) == 1 else list(licences)
