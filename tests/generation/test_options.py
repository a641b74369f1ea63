"""Tests of the checks of the options of a strategy: a wrong value gives an error with a value that works."""

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.options import count, number, share


@pytest.mark.parametrize(
    ("check", "value"),
    [
        *((number, value) for value in (0.5, -1, float("nan"), float("inf"), 10**400, True, "1.5", None, [2])),
        *((count, value) for value in (0, 2**63, 1.5, True, "2", None)),
        *((share, value) for value in (0, 2, float("nan"), float("inf"), -0.1, 10**400, True, "0.5")),
    ],
)
def test_a_value_outside_the_range_gives_a_one_line_error_whose_remedy_works(check, value):
    low = () if check is share else (1,)
    with pytest.raises(UserError, match=r"strategy\.options\.x is .* Use --strategy\.options\.x 1$") as error:
        check("x", value, *low, 1)
    assert "\n" not in str(error.value)
    assert check("x", int(str(error.value).split()[-1]), *low, 1) == 1


def test_an_upper_bound_is_named_and_its_remedy_works():
    with pytest.raises(UserError, match=r"is 1025, not an integer from 1 to 1,024\. Use --strategy\.options\.x 4$"):
        count("x", 1025, 1, 4, 1024)
    assert count("x", 1024, 1, 4, 1024) == 1024


def test_values_in_the_range_are_returned():
    assert number("x", 3, 1, 1.5) == 3.0
    assert count("x", 2**63 - 1, 1, 1) == 2**63 - 1
    assert share("x", 1, 0.5) == 1.0
