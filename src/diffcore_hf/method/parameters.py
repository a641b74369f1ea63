"""Parameters: what each policy reads, with defaults and ranges.

Owns the rules between the fields of one policy record. Does not own what a policy does with them (policies.py).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from diffcore_hf.core.recipe import Policy

REQUIRED = object()
PARAMETERS: dict[str, dict[str, Any]] = {
    "all": {},
    "random": {"p": 0.5},
    "mean": {"pairs": None},
    "fixed": {"t": REQUIRED},
    "quantile": {"alpha": 0.1},
    "rank": {"by": "classifier", "alpha": 0.1, "floor": "auto"},
}
"""What each policy reads, and the default."""
JUDGES = ("class_mean", "classifier", "text")


def policy_parameters(policy: Policy) -> dict[str, Any]:
    """The parameters that the named policy reads, defaults filled in.

    Raises:
        ValueError: an unknown name, a parameter that the policy does not read, one that is missing or out of range.
    """
    if policy.name not in PARAMETERS:
        raise ValueError(f"filter.policy.name is {policy.name!r}; the policies: {', '.join(PARAMETERS)}")
    reads = PARAMETERS[policy.name]
    given = {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy) if field.name != "name"}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in reads:
            raise ValueError(
                f"filter.policy.{name} is {value!r}, which policy {policy.name} does not read; "
                f"it reads: {', '.join(reads) or 'nothing'}"
            )
    parameters = reads | given
    for name, value in parameters.items():
        if value is REQUIRED:
            raise ValueError(f"policy {policy.name} needs filter.policy.{name}, for example --filter.policy.{name} 0.7")
    allowed = {
        "alpha": ("between 0 and 1", lambda x: 0 < x < 1),
        "p": ("in [0, 1]", lambda x: 0 <= x <= 1),
        "t": ("in [-1, 1]", lambda x: -1 <= x <= 1),
        "pairs": ("1 or more", lambda x: x is None or x >= 1),
        "by": (f"one of {', '.join(JUDGES)}", lambda x: x in JUDGES),
        "floor": ("auto, on or off", lambda x: x in ("auto", "on", "off")),
    }
    for name, value in parameters.items():
        text, holds = allowed[name]
        if not holds(value):
            raise ValueError(f"filter.policy.{name} is {value!r}; it must be {text}")
    return parameters
