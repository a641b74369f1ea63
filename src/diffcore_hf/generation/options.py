"""Checks of the options of a strategy. A check returns the value, or raises an error with the option and its range."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from diffcore_hf.core.errors import UserError


def check_names(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Check that a strategy has each given option.

    Raises:
        UserError: the strategy has no option of this name.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        remedy = f"its options are: {', '.join(known)}" if known else "it has no options. Remove them"
        raise UserError(f"strategy.options has {unknown[0]!r}, which this strategy does not have; {remedy}")


def share(name: str, value: Any, example: float) -> float:
    """Return a number in (0, 1].

    Raises:
        UserError: the value is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise UserError(
            f"strategy.options.{name} is {value!r}, not a number in (0, 1]. Use --strategy.options.{name} {example}"
        )
    return float(value)


def number(name: str, value: Any, low: float, example: float) -> float:
    """Return a number of at least `low`.

    Raises:
        UserError: the value is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= sys.float_info.max:
        raise UserError(
            f"strategy.options.{name} is {value!r}, not a number of at least {low:g}. Use "
            f"--strategy.options.{name} {example}"
        )
    return float(value)


def count(name: str, value: Any, low: int, example: int, high: int = 2**63 - 1) -> int:
    """Return an integer from `low` to `high`.

    Raises:
        UserError: the value is not such an integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        expected = f"of at least {low}" if high == 2**63 - 1 else f"from {low} to {high:,}"
        raise UserError(
            f"strategy.options.{name} is {value!r}, not an integer {expected}. Use --strategy.options.{name} {example}"
        )
    return value


def choice(name: str, value: Any, values: Sequence[str]) -> str:
    """Return a text that is one of the allowed texts.

    Raises:
        UserError: the value is not one of the allowed texts.
    """
    if value not in values:
        raise UserError(
            f"strategy.options.{name} is {value!r}, not one of {', '.join(values)}. Use "
            f"--strategy.options.{name} {values[0]}"
        )
    return str(value)
