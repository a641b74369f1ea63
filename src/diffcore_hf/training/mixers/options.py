"""Checks of the options of a mixer. A check returns the value, or raises an error with the option and its range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffcore_hf.core.errors import UserError

LARGEST = 1e6
"""Largest number of an option. Larger numbers overflow in the computations."""


def positive(name: str, value: Any) -> float:
    """Return a number above 0 and at most 1e6.

    Raises:
        UserError: the value is not such a number.
    """
    if not _is_number(value) or not 0 < value <= LARGEST:
        raise UserError(f"mixer.options.{name} is {value!r}, not a number above 0 and at most 1e6. Use e.g. 1.0")
    return float(value)


def not_negative(name: str, value: Any) -> float:
    """Return a number from 0 to 1e6.

    Raises:
        UserError: the value is not such a number.
    """
    if not _is_number(value) or not 0 <= value <= LARGEST:
        raise UserError(f"mixer.options.{name} is {value!r}, not a number from 0 to 1e6. Use e.g. 0.5")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def share(name: str, value: Any) -> float:
    """Return a number in [0, 1].

    Raises:
        UserError: the value is not a number in [0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UserError(f"mixer.options.{name} is {value!r}, not a number in [0, 1]. Use e.g. 0.5")
    return float(value)


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return an integer from `low` to `high`.

    Raises:
        UserError: the value is not such an integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"mixer.options.{name} is {value!r}, not an integer from {low} to {high}. Use e.g. {low}")
    return value


def text(name: str, value: Any) -> str:
    """Return a text that is not empty.

    Raises:
        UserError: the value is not such a text.
    """
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"mixer.options.{name} is {value!r}, not a text")
    return value


def choice(name: str, value: Any, values: Sequence[str]) -> str:
    """Return a text that is one of the allowed texts.

    Raises:
        UserError: the value is not one of the allowed texts.
    """
    if value not in values:
        raise UserError(f"mixer.options.{name} is {value!r}, not one of {', '.join(values)}. Use e.g. {values[0]}")
    return str(value)


def interval(names: tuple[str, str], low: float, high: float) -> tuple[float, float]:
    """Return two ends of an interval, the lower end first.

    Raises:
        UserError: the upper end is below the lower end.
    """
    if low > high:
        raise UserError(
            f"mixer.options.{names[0]} is {low}, above mixer.options.{names[1]} ({high}). Exchange the two values"
        )
    return low, high


def switch(name: str, value: Any) -> bool:
    """Return true or false.

    Raises:
        UserError: the value is neither true nor false.
    """
    if not isinstance(value, bool):
        raise UserError(f"mixer.options.{name} is {value!r}, not true or false")
    return value


def indices(name: str, value: Any, example: str) -> tuple[int, ...]:
    """Return different whole numbers from 0, in the given order.

    Args:
        name: name of the option.
        value: the value in the recipe.
        example: a value that works.

    Raises:
        UserError: the value is not a list of such numbers, or it is empty.
    """
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    if not numbers or not whole or len(set(numbers)) != len(numbers):
        raise UserError(
            f"mixer.options.{name} is {value!r}, not a list of different numbers from 0. Use e.g. {example}"
        )
    return tuple(numbers)
